//! `/metrics?scope=fleet`: the server's own series and those of the agents that it supplies now, each asked on its stream,
//! and of those that the other servers supply. And `/sd`: where all of them can be read. Behind [`kiam_common::ops`], in the
//! thread of the status listener; and behind `CollectMetrics`, for other servers.
//!
//! What must always hold: agents are asked once a second at most, whoever scrapes; an agent that does not answer in time is
//! left out, and counted; what agents say takes a bounded amount of memory; nobody waits for another server while others
//! wait for this one's agents.

mod discovery;
mod families;
mod sum;
#[cfg(test)]
mod tests;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join;
use futures_util::{StreamExt as _, stream};
use kiam_common::ops;
use kiam_common::ops::Endpoint;
use kiam_common::registry::Registry;
use kiam_proto::encoding::node::{CollectedMetrics, Collection, Node};
use prometheus::proto::MetricFamily;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::grpc::fleet::{Connected, Fleet};
use crate::metrics::FleetMetrics;
use crate::peers::{Answer, Peers, Series};
use sum::Sum;

/// The least time from one collection to the next.
const EVERY: Duration = Duration::from_secs(1);
/// How long a collection may take; Prometheus waits ten seconds.
const WITHIN: Duration = Duration::from_secs(5);
/// Agents that are asked at a time: what they say waits in memory until it is added.
const AT_ONCE: usize = 64;

/// Collects the agents' series.
#[derive(Debug)]
pub struct Collector {
    fleet: Arc<Fleet>,
    peers: Option<Arc<Peers>>,
    registry: Registry,
    metrics: FleetMetrics,
    last: Mutex<Option<Instant>>,
}

/// The series of some agents.
struct Collected {
    sum: Sum,
    /// How many agents' these are.
    agents: usize,
    /// Of how many they are missing.
    missing: usize,
}

impl Collector {
    /// Of these agents, and of the server itself what is in `registry`; of other servers' agents if there are `peers`.
    pub fn new(fleet: Arc<Fleet>, peers: Option<Arc<Peers>>, registry: Registry, metrics: FleetMetrics) -> Self {
        Self { fleet, peers, registry, metrics, last: Mutex::default() }
    }

    /// What another server is told of this one's agents, in pieces.
    pub(crate) async fn pieces(&self, per_node: bool) -> impl Iterator<Item = CollectedMetrics> + use<> {
        let Collected { sum, agents, missing } = self.own(per_node).await;
        let count = |agents| u32::try_from(agents).unwrap_or(u32::MAX);
        let whole = Collection { agents: count(agents), missing: count(missing) };
        let families = sum.into_families().map(|family| CollectedMetrics { families: vec![family], whole: None });
        families.chain([CollectedMetrics { families: Vec::new(), whole: Some(whole) }])
    }

    /// Of the agents that this server supplies.
    async fn own(&self, per_node: bool) -> Collected {
        let mut last = self.last.lock().await;
        if let Some(last) = *last {
            sleep_until(last + EVERY).await;
        }
        let collected = self.ask_agents(per_node).await;
        *last = Some(Instant::now());
        collected
    }

    async fn ask_agents(&self, per_node: bool) -> Collected {
        let (agents, deadline) = (self.fleet.agents(), Instant::now() + WITHIN);
        let connected = agents.len();
        let ask = |agent: Arc<Connected>| async move {
            let families = timeout_at(deadline, agent.metrics()).await.ok().flatten();
            families.map(|families| (agent, families))
        };
        let mut answers = stream::iter(agents).map(ask).buffer_unordered(AT_ONCE);
        let (mut sum, mut added) = (Sum::new(per_node), 0);
        while let Some(answer) = answers.next().await {
            let Some((agent, families)) = answer else { continue };
            added += usize::from(sum.add(&agent.node, families));
        }
        Collected { sum, agents: added, missing: connected - added }
    }

    /// Of the agents that other servers supply.
    async fn others(&self, per_node: bool) -> Collected {
        let mut collected = Collected { sum: Sum::new(per_node), agents: 0, missing: 0 };
        let Some(peers) = &self.peers else { return collected };
        let mut answers = pin!(peers.series(per_node).await);
        while let Some(Series { nodes, said }) = answers.next().await {
            if said.and_then(|pieces| collected.add(pieces)).is_none() {
                collected.missing += nodes;
            }
        }
        collected
    }

    /// The agents that this server and the others supply, each node once: where two servers have one, as while its agent
    /// moves, the newer stream counts.
    fn nodes(&self, others: &[Answer]) -> Vec<Node> {
        let said = others.iter().filter_map(|answer| answer.said.as_ref().ok());
        let others = said.flat_map(|(_, said)| said.nodes.iter().cloned());
        let mut nodes: Vec<Node> = self.fleet.list().into_iter().chain(others).collect();
        nodes.sort_by(|one, other| (&one.name, other.connected_since).cmp(&(&other.name, one.connected_since)));
        nodes.dedup_by(|later, first| later.name == first.name);
        nodes
    }
}

impl Collected {
    /// Adds what another server said, if it said all, and if there is room.
    fn add(&mut self, pieces: Vec<CollectedMetrics>) -> Option<()> {
        let whole = pieces.last()?.whole?;
        let families = pieces.into_iter().flat_map(|piece| piece.families).collect();
        self.sum.add_summed(families).then_some(())?;
        self.agents += count(whole.agents);
        self.missing += count(whole.missing);
        Some(())
    }
}

fn count(agents: u32) -> usize {
    usize::try_from(agents).unwrap_or(usize::MAX)
}

#[async_trait]
impl ops::Fleet for Collector {
    async fn families(&self, per_node: bool) -> Vec<MetricFamily> {
        let (own, others) = join(self.own(per_node), self.others(per_node)).await;
        let mut sum = own.sum;
        let fits = others.sum.into_families().all(|family| sum.add_summed(vec![family]));
        let (agents, missing) =
            if fits { (others.agents, others.missing) } else { (0, others.agents + others.missing) };
        self.metrics.collected(own.agents + agents, own.missing + missing);
        sum.with(self.registry.gather())
    }

    async fn targets(&self, here: &Endpoint) -> String {
        let others = match &self.peers {
            Some(peers) => peers.nodes().await,
            None => Arc::default(),
        };
        discovery::targets(&self.nodes(&others), &others, here)
    }
}
