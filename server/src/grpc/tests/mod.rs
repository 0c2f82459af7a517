//! The services over an in-memory connection, with a fake STS and fake events behind them.

mod beside;
mod connections;
mod node_binding;
mod requests;
mod scrapers;
mod series;
mod streams;
mod traces;
mod view;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use kiam_common::clock::Clock;
use kiam_common::grpc_metrics::GrpcMetrics;
use kiam_common::ops::{Blocker, Readiness};
use kiam_common::reason::Refusal;
use kiam_common::registry::Registry;
use kiam_common::shutdown::Shutdown;
use kiam_common::testing::NamedScrapers;
use kiam_proto::kiam::kiam_service_client::KiamServiceClient;
use kiam_proto::kiam::{Credentials, GetPodCredentialsRequest, GetPodRoleRequest};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use super::Outlook;
use super::connection::{Limits, serve};
use super::connections::Connections;
use super::fleet::Fleet;
use super::node::Supplier;
use super::operators::Operators;
use crate::desk::{self, Desk};
use crate::directory::Directory;
use crate::events::Recorder;
use crate::events::fake::FakeEvents;
use crate::fixtures::{self, namespace, pod, resolver};
use crate::fleet_metrics::Collector;
use crate::issue::Issuer;
use crate::metrics::{BindingMetrics, Costly, EventMetrics, FleetMetrics, RequestMetrics, StreamMetrics};
use crate::node_binding::unbound::Unbound;
use crate::node_binding::{Mode, NodeBinding};
use crate::sts::fake::FakeSts;
use crate::vault::upkeep;

const NO_LIMITS: Limits = Limits {
    keepalive_time: Duration::ZERO,
    keepalive_timeout: Duration::from_secs(2),
    idle: Duration::ZERO,
    age: Duration::ZERO,
    age_grace: Duration::ZERO,
};

/// A server and a client of it. Pods and namespaces have been listed; there are none.
struct Stand {
    directory: Arc<Directory>,
    desk: Arc<Desk>,
    sts: Arc<FakeSts>,
    events: Arc<FakeEvents>,
    fleet: Arc<Fleet>,
    collector: Arc<Collector>,
    registry: Registry,
    pods_listed: Blocker,
    channel: Channel,
    connections: Arc<AtomicUsize>,
    shutdown: Shutdown,
    serving: JoinHandle<()>,
}

impl Stand {
    async fn new() -> Self {
        Self::with(NO_LIMITS).await
    }

    async fn with(limits: Limits) -> Self {
        Self::build(limits, &[], off).await
    }

    async fn with_series(costly: &[Costly]) -> Self {
        Self::build(NO_LIMITS, costly, off).await
    }

    async fn bound(limits: Limits, mode: impl FnOnce(&BindingMetrics) -> Mode) -> Self {
        Self::build(limits, &[], mode).await
    }

    async fn build(limits: Limits, costly: &[Costly], mode: impl FnOnce(&BindingMetrics) -> Mode) -> Self {
        let (registry, readiness, shutdown) = (Registry::new(), Readiness::default(), Shutdown::new());
        let pods_listed = readiness.blocker("pods");
        let directory = fixtures::directory();
        let (vault, sts) = fixtures::vault(&registry, &directory);
        crate::metrics::roles(&registry, &vault, costly).unwrap();
        let events = Arc::new(FakeEvents::default());
        let event_metrics = EventMetrics::new(&registry).unwrap();
        let (recorder, recording) =
            Recorder::new(Arc::clone(&events) as _, Clock::system(), event_metrics, shutdown.clone());
        tokio::spawn(recording);
        let binding_metrics = BindingMetrics::new(&registry).unwrap();
        let mode = mode(&binding_metrics);
        let desk = Arc::new(Desk::new(Arc::clone(&directory), Arc::clone(&vault)));
        tokio::spawn(upkeep::keep(Arc::clone(&vault), shutdown.clone()));
        tokio::spawn(desk::keep(Arc::clone(&desk), shutdown.clone()));
        let fleet = Arc::<Fleet>::default();
        crate::metrics::fleet(&registry, &fleet, costly).unwrap();
        let node_binding = Arc::new(NodeBinding::new(mode, Arc::clone(&directory), binding_metrics));
        let supplier = Supplier {
            readiness: readiness.clone(),
            node_binding: Arc::clone(&node_binding),
            desk: Arc::clone(&desk),
            clock: fixtures::clock(),
            fleet: Arc::clone(&fleet),
            metrics: StreamMetrics::new(&registry).unwrap(),
            shutdown: shutdown.clone(),
        };
        let issuer = Issuer {
            readiness: readiness.clone(),
            node_binding,
            directory: Arc::clone(&directory),
            resolver: resolver(),
            vault,
            events: recorder,
            metrics: RequestMetrics::new(&registry, costly).unwrap(),
        };
        let counted = GrpcMetrics::server(&registry, &super::descriptors()).unwrap();
        let health = super::unhealthy().await;
        let (issuer, supplier, scrapers) = (Arc::new(issuer), Arc::new(supplier), Arc::new(NamedScrapers));
        let fleet_metrics = FleetMetrics::new(&registry).unwrap();
        let collector = Arc::new(Collector::new(Arc::clone(&fleet), None, registry.clone(), fleet_metrics));
        let outlook =
            Outlook { operators: Operators::default(), metrics: None, peers: None, collector: Arc::clone(&collector) };
        let service = super::service(issuer, supplier, scrapers, outlook, &health, &counted).unwrap();
        tokio::spawn(super::keep_health(health, readiness, shutdown.clone()));
        let (channel, incoming, connections) = in_memory();
        let open = Arc::<Connections>::default();
        crate::metrics::connections(&registry, &open).unwrap();
        let serving = tokio::spawn(serve(incoming, service, limits, open, shutdown.clone()));
        pods_listed.clear();
        settle().await;
        Self {
            directory,
            desk,
            sts,
            events,
            fleet,
            collector,
            registry,
            pods_listed,
            channel,
            connections,
            shutdown,
            serving,
        }
    }

    /// With the pod `a` at 10.0.0.1, whose namespace permits its role `reader`.
    async fn with_reader() -> Self {
        let stand = Self::new().await;
        stand.directory.apply_namespace(&namespace(".*:role/reader"));
        stand.directory.apply_pod(&pod("a", "10.0.0.1", Some("reader")));
        stand
    }

    /// How many connections the client has opened.
    fn opened(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    async fn role(&self, ip: &str) -> Result<String, Status> {
        let request = GetPodRoleRequest { ip: ip.into() };
        let role = KiamServiceClient::new(self.channel.clone()).get_pod_role(request).await?;
        Ok(role.into_inner().name)
    }

    async fn credentials(&self, ip: &str, role: &str) -> Result<Credentials, Status> {
        let request = GetPodCredentialsRequest { ip: ip.into(), role: role.into() };
        let credentials = KiamServiceClient::new(self.channel.clone()).get_pod_credentials(request).await?;
        Ok(credentials.into_inner())
    }

    async fn refusal(&self, ip: &str, role: &str) -> Refusal {
        Refusal::from_status(&self.credentials(ip, role).await.unwrap_err())
    }

    fn count(&self, series: &str) -> i64 {
        fixtures::count(&self.registry, series)
    }
}

/// No agent is bound to its node.
fn off(metrics: &BindingMetrics) -> Mode {
    Mode::Off(Unbound::new(metrics.clone()))
}

/// A channel whose connections arrive at the stream, and how many it has opened.
fn in_memory() -> (Channel, impl tokio_stream::Stream<Item = io::Result<tokio::io::DuplexStream>>, Arc<AtomicUsize>) {
    let (arrive, arriving) = mpsc::unbounded_channel();
    let opened = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&opened);
    let connector = tower::service_fn(move |_: http::Uri| {
        let (client, server) = tokio::io::duplex(64 * 1024);
        counter.fetch_add(1, Ordering::Relaxed);
        let arrived = arrive.send(server).map_err(|_| io::Error::from(io::ErrorKind::ConnectionRefused));
        async move { arrived.map(|()| TokioIo::new(client)) }
    });
    let channel = Endpoint::from_static("http://kiam-server").connect_with_connector_lazy(connector);
    (channel, UnboundedReceiverStream::new(arriving).map(Ok), opened)
}

async fn settle() {
    sleep(Duration::from_millis(1)).await;
}
