//! How another server is asked: over gRPC, with this server's own certificate.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use kiam_common::args::{HostPort, KeepaliveArgs};
use kiam_common::channel::{connect_lazily, why};
use kiam_common::tls::Identity;
use kiam_proto::encoding::node as wire;
use kiam_proto::encoding::node::fleet_client::FleetClient;
use prost::Message as _;
use tonic::transport::Channel;

use super::Peer;

/// How long connecting may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(1);
/// The most that one server may say of its nodes, and of its agents' series, in bytes. A node takes about 200.
const NODES_MAX: usize = 4 * 1024 * 1024;
const SERIES_MAX: usize = 32 * 1024 * 1024;

/// The other servers, as they are seen from here. A failure is one line.
#[async_trait]
pub trait Ask: Send + Sync + std::fmt::Debug + 'static {
    /// The addresses of a name.
    async fn look_up(&self, name: &HostPort) -> io::Result<Vec<SocketAddr>>;

    /// The nodes that a server supplies.
    async fn nodes(&self, peer: &Peer) -> Result<wire::ListNodesResponse, String>;

    /// The series of its agents, all of them.
    async fn series(&self, peer: &Peer, per_node: bool) -> Result<Vec<wire::CollectedMetrics>, String>;
}

/// By mutual TLS. Each question has a connection of its own: they are rare, and an idle connection would be one more thing
/// to look after.
#[derive(Debug)]
pub struct OverGrpc {
    /// Who asks.
    pub identity: Arc<Identity>,
    /// How connections are probed.
    pub keepalive: KeepaliveArgs,
}

impl OverGrpc {
    fn client(&self, peer: &Peer) -> FleetClient<Channel> {
        let Peer { address, host } = peer;
        let channel = connect_lazily(*address, host, &self.identity, &self.keepalive, CONNECT_WITHIN);
        FleetClient::new(channel).max_decoding_message_size(NODES_MAX)
    }
}

#[async_trait]
impl Ask for OverGrpc {
    async fn look_up(&self, name: &HostPort) -> io::Result<Vec<SocketAddr>> {
        name.resolve().await
    }

    async fn nodes(&self, peer: &Peer) -> Result<wire::ListNodesResponse, String> {
        let listed = self.client(peer).list_nodes(wire::ListNodesRequest { whole_fleet: false }).await;
        listed.map(tonic::Response::into_inner).map_err(|status| why(&status))
    }

    async fn series(&self, peer: &Peer, per_node: bool) -> Result<Vec<wire::CollectedMetrics>, String> {
        let collected = self.client(peer).collect_metrics(wire::CollectMetricsRequest { per_node }).await;
        let mut collected = collected.map_err(|status| why(&status))?.into_inner();
        let (mut pieces, mut bytes) = (Vec::new(), 0);
        while let Some(piece) = collected.message().await.map_err(|status| why(&status))? {
            bytes += piece.encoded_len();
            if bytes > SERIES_MAX {
                return Err(format!("it says more than {SERIES_MAX} bytes"));
            }
            pieces.push(piece);
        }
        Ok(pieces)
    }
}
