//! The connections of agents, counted at each scrape.

use std::sync::Arc;

use kiam_common::registry::Registry;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Error, GaugeVec};

use super::{float, gauges};
use crate::grpc::connections::Connections;

/// Registers `kiam_connections`.
pub fn connections(registry: &Registry, connections: &Arc<Connections>) -> Result<(), Error> {
    let help = "Open connections of agents, by whether a call is under way";
    let by_state = gauges("kiam_connections", help, "state")?;
    registry.register(Box::new(Counted { connections: Arc::clone(connections), by_state }))
}

struct Counted {
    connections: Arc<Connections>,
    by_state: GaugeVec,
}

impl Collector for Counted {
    fn desc(&self) -> Vec<&Desc> {
        self.by_state.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let (active, idle) = self.connections.active_and_idle();
        self.by_state.with_label_values(&["active"]).set(float(active));
        self.by_state.with_label_values(&["idle"]).set(float(idle));
        self.by_state.collect()
    }
}
