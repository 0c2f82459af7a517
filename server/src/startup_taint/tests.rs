//! Fake nodes under paused time.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use kiam_common::registry::Registry;
use kiam_common::shutdown::Shutdown;
use kiam_common::testing::CapturedLog;
use tokio::time::sleep;

use super::fake::FakeNodes;
use super::{Agent, StartupTaint};
use crate::fixtures::count;
use crate::metrics::StartupTaintMetrics;

const SECOND: Duration = Duration::from_secs(1);

/// A running task, its nodes, and the agents that it sees.
struct Stand {
    nodes: Arc<FakeNodes>,
    agents: Arc<Mutex<Vec<Agent>>>,
    registry: Registry,
    shutdown: Shutdown,
}

fn agent(stream: u64, node: &str, is_at_work: bool) -> Agent {
    Agent { stream, node: node.into(), is_at_work }
}

/// Sees that one line has all of these words.
fn told(log: &CapturedLog, words: &[&str]) {
    let log = log.text();
    assert!(log.lines().any(|line| words.iter().all(|word| line.contains(word))), "{words:?} are not in {log}");
}

impl Stand {
    fn new() -> Self {
        let (nodes, agents) = (Arc::<FakeNodes>::default(), Arc::<Mutex<Vec<Agent>>>::default());
        let (registry, shutdown) = (Registry::new(), Shutdown::new());
        let metrics = StartupTaintMetrics::new(&registry).unwrap();
        let taint = StartupTaint::new("example.com/new".parse().unwrap(), Arc::clone(&nodes) as _, metrics);
        let seen = Arc::clone(&agents);
        tokio::spawn(taint.keep(move || seen.lock().unwrap().clone(), shutdown.clone()));
        Self { nodes, agents, registry, shutdown }
    }

    fn taint(&self, node: &str) {
        self.nodes.script().tainted.insert(node.into());
    }

    fn is_tainted(&self, node: &str) -> bool {
        self.nodes.script().tainted.contains(node)
    }

    fn asked(&self) -> usize {
        self.nodes.script().asked.len()
    }

    /// These are all the agents from now on.
    async fn shows(&self, agents: impl IntoIterator<Item = Agent>) {
        *self.agents.lock().unwrap() = agents.into_iter().collect();
        sleep(2 * SECOND).await;
    }

    fn counted(&self, outcome: &str) -> i64 {
        count(&self.registry, &format!("kiam_startup_taints_total{{outcome=\"{outcome}\"}}"))
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_keeps_its_taint_until_its_agent_is_at_work() {
    let (log, stand) = (CapturedLog::start(), Stand::new());
    stand.taint("node-a");
    stand.shows([agent(1, "node-a", false)]).await;
    assert_eq!((stand.is_tainted("node-a"), stand.asked()), (true, 0));
    stand.shows([agent(1, "node-a", true)]).await;
    assert_eq!((stand.is_tainted("node-a"), stand.counted("removed")), (false, 1));
    told(&log, &["INFO", "took the startup taint away", "node-a", "example.com/new"]);
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_looked_at_once_and_the_next_of_its_node_again() {
    let stand = Stand::new();
    for is_at_work in [true, false, true] {
        stand.shows([agent(1, "node-a", is_at_work)]).await;
        sleep(60 * SECOND).await;
    }
    assert_eq!((stand.asked(), stand.counted("absent")), (1, 1));
    stand.shows([]).await;
    stand.taint("node-a");
    stand.shows([agent(2, "node-a", true)]).await;
    assert_eq!((stand.asked(), stand.is_tainted("node-a")), (2, false));
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_told_counted_and_tried_again_after_growing_pauses() {
    let (log, stand) = (CapturedLog::start(), Stand::new());
    stand.taint("node-a");
    stand.nodes.script().refuse = true;
    *stand.agents.lock().unwrap() = vec![agent(1, "node-a", true)];
    let mut at = Vec::new();
    for second in 0..260 {
        sleep(SECOND).await;
        if stand.asked() > at.len() {
            at.push(second);
        }
    }
    let pauses: Vec<_> = at.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    assert_eq!(stand.counted("failed"), 10);
    told(&log, &["WARN", "could not take the startup taint away: forbidden", "node-a"]);
    stand.nodes.script().refuse = false;
    sleep(60 * SECOND).await;
    assert_eq!((stand.is_tainted("node-a"), stand.counted("removed")), (false, 1));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_does_not_come_is_a_failure_and_holds_up_the_others_for_seconds_only() {
    let (log, stand) = (CapturedLog::start(), Stand::new());
    stand.nodes.script().delay = Duration::from_mins(10);
    stand.shows([agent(1, "node-a", true)]).await;
    stand.nodes.script().delay = Duration::ZERO;
    stand.taint("node-b");
    stand.shows([agent(1, "node-a", true), agent(2, "node-b", true)]).await;
    sleep(5 * SECOND).await;
    told(&log, &["no answer within 5 seconds", "node-a"]);
    assert!(!stand.is_tainted("node-b"));
    assert_eq!((stand.counted("failed"), stand.counted("removed"), stand.counted("absent")), (1, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_fleet_is_gone_through_without_a_pause_a_few_nodes_at_a_time() {
    let stand = Stand::new();
    stand.nodes.script().delay = Duration::from_millis(10);
    let agents = (0..100).map(|number| agent(number, &format!("node-{number}"), true));
    stand.shows(agents).await;
    assert_eq!((stand.asked(), stand.nodes.script().most_at_once), (100, 8));
}

#[tokio::test(start_paused = true)]
async fn a_new_node_does_not_wait_for_those_that_fail() {
    let stand = Stand::new();
    stand.nodes.script().refuse = true;
    let failing = || (0..20).map(|number| agent(number, &format!("node-{number}"), true));
    stand.shows(failing()).await;
    stand.nodes.script().asked.clear();
    stand.shows(failing().chain([agent(20, "node-new", true)])).await;
    assert_eq!(stand.nodes.script().asked[0], "node-new");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_asked_after_the_shutdown() {
    let stand = Stand::new();
    stand.shutdown.begin();
    stand.shows([agent(1, "node-a", true)]).await;
    assert_eq!(stand.asked(), 0);
}
