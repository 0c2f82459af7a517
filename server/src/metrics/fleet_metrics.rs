//! What `/metrics?scope=fleet` says of itself.

use prometheus::{Error, IntGauge, Registry};

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
        self.added.set(i64::try_from(added).unwrap_or(i64::MAX));
        self.missing.set(i64::try_from(missing).unwrap_or(i64::MAX));
    }
}
