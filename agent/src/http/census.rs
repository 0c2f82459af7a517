//! What `/metrics` tells of connections and of requests that are being answered, counted at each scrape. Registered by
//! `app.rs`.

use std::sync::Arc;

use kiam_common::registry::Registry;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntGauge, IntGaugeVec, Opts};

use super::peers::Peers;

/// The door at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Census {
    /// Connections with a request that is being answered.
    pub(crate) active: usize,
    /// Connections without one.
    pub(crate) idle: usize,
    /// Requests that are being answered.
    pub(crate) requests: usize,
}

impl Peers {
    /// Registers `kiam_connections` and `kiam_requests_in_flight`.
    pub(crate) fn register(self: &Arc<Self>, registry: &Registry) -> prometheus::Result<()> {
        let connections = Opts::new("kiam_connections", "Open connections of pods, by whether a request is answered");
        registry.register(Box::new(CensusTaker {
            peers: self.clone(),
            connections: IntGaugeVec::new(connections, &["state"])?,
            requests: IntGauge::new("kiam_requests_in_flight", "Requests of pods that are being answered")?,
        }))
    }
}

struct CensusTaker {
    peers: Arc<Peers>,
    connections: IntGaugeVec,
    requests: IntGauge,
}

impl Collector for CensusTaker {
    fn desc(&self) -> Vec<&Desc> {
        [self.connections.desc(), self.requests.desc()].concat()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let census = self.peers.census();
        self.connections.with_label_values(&["active"]).set(gauge(census.active));
        self.connections.with_label_values(&["idle"]).set(gauge(census.idle));
        self.requests.set(gauge(census.requests));
        [self.connections.collect(), self.requests.collect()].concat()
    }
}

fn gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
