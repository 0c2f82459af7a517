//! What `/metrics?scope=fleet` says of itself.

use kiam_common::registry::Registry;
use prometheus::{Error, IntGauge};

use super::registered;

/// How complete the last collection was.
#[derive(Clone, Debug)]
pub struct FleetMetrics {
    added: IntGauge,
    missing: IntGauge,
}

impl FleetMetrics {
    /// Registers the series.
    pub fn new(registry: &Registry) -> Result<Self, Error> {
        let added = "Agents whose series the last answer to scope=fleet had";
        let missing = "Agents whose series it lacked: they did not answer in time, or do not know how";
        Ok(Self {
            added: registered(registry, IntGauge::new("kiam_fleet_metrics_agents", added)?)?,
            missing: registered(registry, IntGauge::new("kiam_fleet_metrics_missing", missing)?)?,
        })
    }

    /// A collection is over.
    pub(crate) fn collected(&self, added: usize, missing: usize) {
        set(&self.added, added);
        set(&self.missing, missing);
    }
}

/// What other servers say, where `--peers` names any.
#[derive(Clone, Debug)]
pub struct PeerMetrics {
    answering: IntGauge,
    missing: IntGauge,
}

impl PeerMetrics {
    /// Registers the series.
    pub fn new(registry: &Registry) -> Result<Self, Error> {
        let answering = "Other servers that answered when they were last asked for their nodes";
        let missing =
            "Addresses and names of --peers that did not, and whose nodes are in no answer to /sd and scope=fleet";
        Ok(Self {
            answering: registered(registry, IntGauge::new("kiam_peers_answering", answering)?)?,
            missing: registered(registry, IntGauge::new("kiam_peers_missing", missing)?)?,
        })
    }

    /// All were asked.
    pub(crate) fn asked(&self, answering: usize, missing: usize) {
        set(&self.answering, answering);
        set(&self.missing, missing);
    }
}

fn set(gauge: &IntGauge, count: usize) {
    gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
}
