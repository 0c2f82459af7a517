//! `/metrics?scope=fleet`: the server's own series and those of the agents that it supplies now, each asked on its stream.
//! And `/sd`: where all of them can be read. Behind [`kiam_common::ops`], in the thread of the status listener.
//!
//! What must always hold: agents are asked once a second at most, whoever scrapes; an agent that does not answer in time is
//! left out, and counted; what agents say takes a bounded amount of memory.

mod discovery;
mod families;
mod sum;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt as _, stream};
use kiam_common::ops;
use kiam_common::ops::Endpoint;
use prometheus::Registry;
use prometheus::proto::MetricFamily;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::grpc::fleet::{Connected, Fleet};
use crate::metrics::FleetMetrics;
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
    registry: Registry,
    metrics: FleetMetrics,
    last: Mutex<Option<Instant>>,
}

impl Collector {
    /// Of these agents, and of the server itself what is in `registry`.
    pub fn new(fleet: Arc<Fleet>, registry: Registry, metrics: FleetMetrics) -> Self {
        Self { fleet, registry, metrics, last: Mutex::default() }
    }

    async fn collect(&self, per_node: bool) -> Sum {
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
        self.metrics.collected(added, connected - added);
        sum
    }
}

#[async_trait]
impl ops::Fleet for Collector {
    async fn families(&self, per_node: bool) -> Vec<MetricFamily> {
        let mut last = self.last.lock().await;
        if let Some(last) = *last {
            sleep_until(last + EVERY).await;
        }
        let sum = self.collect(per_node).await;
        *last = Some(Instant::now());
        drop(last);
        sum.with(self.registry.gather())
    }

    fn targets(&self, here: &Endpoint) -> String {
        discovery::targets(&self.fleet.agents(), here)
    }
}
