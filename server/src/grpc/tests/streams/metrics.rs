//! An agent's series, asked for on its stream.

use std::sync::Arc;
use std::time::Duration;

use kiam_common::ops::Fleet as _;
use kiam_proto::METRICS_FEATURE;
use kiam_proto::node::node_message::Message as Said;
use kiam_proto::node::server_message::Message;
use kiam_proto::node::{Family, Hello, Metrics, NodeMessage};

use tokio::time::{Instant, sleep};

use super::super::{Stand, settle};
use super::Agent;

impl Stand {
    /// An agent of `node-0` that can be asked for its series.
    async fn knowing(&self) -> Agent {
        let hello = Hello { node: "node-0".into(), features: vec![METRICS_FEATURE.into()], ..Hello::default() };
        self.sync_with(NodeMessage { message: Some(Said::Hello(hello)) }).await.unwrap()
    }
}

impl Agent {
    async fn piece(&self, id: u64, name: &str, is_last: bool) {
        let families = vec![Family { name: name.into(), ..Family::default() }];
        let piece = Metrics { id, families, is_last };
        self.says.send(NodeMessage { message: Some(Said::Metrics(piece)) }).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_knows_how_is_asked_for_its_series_and_one_that_does_not_is_left_alone() {
    let stand = Stand::new().await;
    let mut agent = stand.knowing().await;
    let welcome = agent.snapshot().await.remove(0);
    assert!(matches!(welcome, Message::Welcome(welcome) if welcome.features == [METRICS_FEATURE]));
    let older = stand.synced().await;

    let [knows, does_not]: [_; 2] = stand.fleet.agents().try_into().unwrap();
    assert!(does_not.metrics().await.is_none());
    let asking = tokio::spawn(async move { knows.metrics().await });
    let Some(Message::MetricsWanted(wanted)) = agent.next().await else { panic!("no question") };
    agent.piece(wanted.id, "a_total", false).await;
    agent.piece(wanted.id, "b_total", true).await;
    let families = asking.await.unwrap().unwrap();
    assert_eq!(families.iter().map(|family| family.name.as_str()).collect::<Vec<_>>(), ["a_total", "b_total"]);
    drop(older);
}

#[tokio::test(start_paused = true)]
async fn of_two_streams_of_a_node_the_newer_one_counts() {
    let stand = Stand::new().await;
    let (old, new) = (stand.synced().await, stand.synced().await);
    let agents = stand.fleet.agents();
    assert_eq!(agents.len(), 1);
    drop(old);
    settle().await;
    assert!(Arc::ptr_eq(&agents[0], &stand.fleet.agents()[0]));
    drop(new);
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_does_not_answer_is_left_out_and_counted_and_agents_are_asked_once_a_second_at_most() {
    let stand = Stand::new().await;
    let collector = Arc::clone(&stand.collector);
    for waits in [0, 1] {
        let begun = Instant::now();
        collector.families(false).await;
        assert_eq!(begun.elapsed(), Duration::from_secs(waits));
    }
    let mut agent = stand.knowing().await;
    agent.snapshot().await;
    sleep(Duration::from_secs(1)).await;
    let begun = Instant::now();
    let families = collector.families(true).await;
    assert_eq!(begun.elapsed(), Duration::from_secs(5));
    assert!(families.iter().any(|family| family.name() == "kiam_nodes_connected"), "the server's own are there");
    assert_eq!((stand.count("kiam_fleet_metrics_agents"), stand.count("kiam_fleet_metrics_missing")), (0, 1));
}
