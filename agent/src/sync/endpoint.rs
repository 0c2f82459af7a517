//! One address of the servers: its connection, and whether it is in doubt.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kiam_common::args::ServerAddressArgs;
use kiam_common::channel::connect_lazily;
use kiam_common::grpc_metrics::{GrpcMetrics, GrpcMetricsLayer};
use kiam_common::tls::Identity;
use kiam_proto::kiam::kiam_service_client::KiamServiceClient;
use kiam_proto::node::node_sync_client::NodeSyncClient;
use kiam_proto::node::scrapers_client::ScrapersClient;
use tokio::time::Instant;
use tonic::transport::Channel;
use tower::Layer;

use super::token::{Bearing, TokenFile};

/// The connection to one server, counted in the `grpc_client_*` metrics.
type Connection = <GrpcMetricsLayer as Layer<Bearing<Channel>>>::Service;

/// A client for one server's unary calls.
pub(crate) type Client = KiamServiceClient<Connection>;

/// How long an address that failed, or kept a caller waiting, is asked after all others.
const DOUBT_FOR: Duration = Duration::from_secs(3);

/// Makes endpoints.
pub(crate) struct Connector {
    /// Who the agent is, and whom it trusts.
    pub(crate) identity: Arc<Identity>,
    /// What tells a server which node the agent is of, if anything does.
    pub(crate) token: Option<Arc<TokenFile>>,
    /// The name in the servers' certificates, and how to behave on a connection.
    pub(crate) server: ServerAddressArgs,
    /// Counts every call.
    pub(crate) metrics: GrpcMetrics,
}

impl Connector {
    /// An endpoint that connects when it is first asked, with the identity as it is then.
    pub(crate) fn endpoint(&self, address: SocketAddr) -> Arc<Endpoint> {
        let ServerAddressArgs { server_address, gateway_timeout_creation, keepalive, .. } = &self.server;
        let channel =
            connect_lazily(address, &server_address.host, &self.identity, keepalive, *gateway_timeout_creation);
        let connection = self.metrics.layer().layer(Bearing::new(channel, self.token.clone()));
        Arc::new(Endpoint { address, connection, made: Instant::now(), doubted_until: AtomicU64::new(0) })
    }
}

/// One server, as far as an address tells servers apart.
pub(crate) struct Endpoint {
    address: SocketAddr,
    connection: Connection,
    made: Instant,
    /// Milliseconds since `made`.
    doubted_until: AtomicU64,
}

impl Endpoint {
    /// Where it is.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// A client that shares the connection.
    pub(crate) fn client(&self) -> Client {
        KiamServiceClient::new(self.connection.clone())
    }

    /// A client for streams that shares the connection.
    pub(crate) fn stream_client(&self) -> NodeSyncClient<Connection> {
        NodeSyncClient::new(self.connection.clone())
    }

    /// A client for questions about scrapers that shares the connection.
    pub(crate) fn scrapers_client(&self) -> ScrapersClient<Connection> {
        ScrapersClient::new(self.connection.clone())
    }

    /// It answered.
    pub(crate) fn trust(&self) {
        self.doubted_until.store(0, Ordering::Relaxed);
    }

    /// It failed, or another answered while it was silent.
    pub(crate) fn doubt(&self) {
        self.doubted_until.store(millis(self.made.elapsed() + DOUBT_FOR), Ordering::Relaxed);
    }

    /// Whether others should be asked first.
    pub(crate) fn is_doubted(&self) -> bool {
        let until = self.doubted_until.load(Ordering::Relaxed);
        until != 0 && millis(self.made.elapsed()) < until
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
