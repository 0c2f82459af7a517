//! What a server shows of all servers' agents beside what it shows of itself: their series, and where they can be read.

use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use prometheus::proto::MetricFamily;

/// Who knows the agents.
#[async_trait]
pub trait Fleet: Send + Sync + std::fmt::Debug + 'static {
    /// The program's own series and those of its agents: added up, or with a label `node` each.
    async fn families(&self, per_node: bool) -> Vec<MetricFamily>;

    /// The agents, the other servers, and `here`, as Prometheus' `http_sd_configs` has targets: JSON.
    async fn targets(&self, here: &Endpoint) -> String;
}

/// Where a program's metrics are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The address, which may be that of every interface.
    pub address: SocketAddr,
    /// `--metrics-path`
    pub path: Arc<str>,
    /// Whether it speaks TLS.
    pub tls: bool,
}
