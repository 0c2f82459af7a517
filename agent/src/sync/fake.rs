//! Servers on loopback, over real mutual TLS, that behave as a test says and count what they are asked.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use std::time::Duration;

use kiam_common::args::{KeepaliveArgs, ServerAddressArgs, TlsArgs};
use kiam_common::grpc_metrics::GrpcMetrics;
use kiam_common::ops::Readiness;
use kiam_common::reason::{Reason, Refusal};
use kiam_common::registry::Registry;
use kiam_common::shutdown::Shutdown;
use kiam_common::testing::Pki;
use kiam_common::tls::{self, Identity};
use kiam_proto::POD_UID;
use kiam_proto::kiam::kiam_service_server::{KiamService, KiamServiceServer};
use kiam_proto::kiam::{
    Credentials, GetHealthRequest, GetPodCredentialsRequest, GetPodRoleRequest, HealthStatus, Role,
};
use kiam_proto::node::node_sync_server::NodeSyncServer;
use tokio::net::TcpListener;
use tonic::{Request, Response, Status};

use super::endpoint::Connector;
use super::endpoints::Endpoints;
use super::resolver::fake::FakeResolver;
use super::stream::fake::Streams;

/// The side of the agent that knows servers, and the world that it knows them in.
pub(crate) struct Agent {
    pub(crate) endpoints: Arc<Endpoints>,
    pub(crate) pki: Pki,
    pub(crate) files: TlsArgs,
    pub(crate) resolver: Arc<FakeResolver>,
    pub(crate) readiness: Readiness,
    pub(crate) identity: Arc<Identity>,
    pub(crate) shutdown: Shutdown,
}

impl Agent {
    pub(crate) async fn new() -> Self {
        tls::install_crypto_provider();
        let pki = Pki::new();
        let files = pki.issue("agent", &["agent"]);
        let identity = Identity::load(&files).await.unwrap();
        let keepalive = KeepaliveArgs {
            grpc_keepalive_time_duration: Duration::from_secs(10),
            grpc_keepalive_timeout_duration: Duration::from_secs(2),
            grpc_keepalive_permit_without_stream: false,
        };
        let server = ServerAddressArgs {
            server_address: "kiam-server:443".parse().unwrap(),
            server_address_refresh: Duration::ZERO,
            gateway_timeout_creation: Duration::from_secs(1),
            keepalive,
        };
        let metrics = GrpcMetrics::client(&Registry::new(), &[kiam_proto::FILE_DESCRIPTOR_SET]).unwrap();
        let connector = Connector { identity: identity.clone(), token: None, server, metrics };
        let (resolver, readiness, shutdown) =
            (Arc::new(FakeResolver::default()), Readiness::default(), Shutdown::new());
        let endpoints = Arc::new(Endpoints::new(connector, resolver.clone(), readiness.blocker("server")));
        Self { endpoints, pki, files, resolver, readiness, identity, shutdown }
    }

    /// Begins to look servers up, and waits until one answers.
    pub(crate) async fn run(&self) {
        self.begin();
        self.readiness.ready().await;
    }

    pub(crate) fn begin(&self) {
        tokio::spawn(self.endpoints.clone().keep_current(self.identity.generation(), self.shutdown.clone()));
    }

    pub(crate) async fn server(&self, name: &str, behaviour: Behaviour) -> TestServer {
        TestServer::start(name, &self.pki.issue(name, &["kiam-server"]), behaviour).await
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.shutdown.begin();
    }
}

/// What a server does with a pod's call.
#[derive(Clone)]
pub(crate) enum Behaviour {
    /// Answers that the pod's role is this server's own name.
    Answer,
    /// Never answers.
    Hang,
    /// Refuses.
    Refuse(Reason),
    /// Refuses as Kiam v4 does: a message, and `Unknown`.
    RefuseAsKiam(&'static str),
    /// Refuses as Kiam v4 does, this many times; then answers.
    RefuseFirst(usize, &'static str),
}

/// A server at work.
pub(crate) struct TestServer {
    pub(crate) address: SocketAddr,
    pub(crate) service: Arc<Service>,
    shutdown: Shutdown,
}

pub(crate) struct Service {
    name: String,
    behaviour: Mutex<Behaviour>,
    /// Calls for pods, health not counted.
    pub(crate) calls: AtomicUsize,
    /// The `grpc-timeout` of the last call.
    pub(crate) timeout: Mutex<Option<String>>,
}

impl TestServer {
    pub(crate) async fn start(name: &str, files: &TlsArgs, behaviour: Behaviour) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), name, files, behaviour).await
    }

    pub(crate) async fn start_at(address: SocketAddr, name: &str, files: &TlsArgs, behaviour: Behaviour) -> Self {
        Self::start_with(address, name, files, behaviour, None).await
    }

    /// With streams, if there are any; without them as a server of Kiam v4.
    pub(super) async fn start_with(
        address: SocketAddr,
        name: &str,
        files: &TlsArgs,
        behaviour: Behaviour,
        streams: Option<Arc<Streams>>,
    ) -> Self {
        tls::install_crypto_provider();
        let identity = Identity::load(files).await.unwrap();
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = Arc::new(Service {
            name: name.into(),
            behaviour: Mutex::new(behaviour),
            calls: AtomicUsize::new(0),
            timeout: Mutex::default(),
        });
        let shutdown = Shutdown::new();
        let connections = tls::accept(listener, identity, shutdown.clone());
        let serving = tonic::transport::Server::builder()
            .add_service(KiamServiceServer::from_arc(service.clone()))
            .add_optional_service(streams.map(NodeSyncServer::from_arc))
            .serve_with_incoming_shutdown(connections, {
                let shutdown = shutdown.clone();
                async move { shutdown.begun().await }
            });
        tokio::spawn(serving);
        Self { address, service, shutdown }
    }

    pub(crate) fn behave(&self, behaviour: Behaviour) {
        *self.service.behaviour.lock().unwrap() = behaviour;
    }

    pub(crate) fn calls(&self) -> usize {
        self.service.calls.load(Ordering::SeqCst)
    }

    pub(crate) fn stop(&self) {
        self.shutdown.begin();
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Service {
    async fn behave<M>(&self, request: &Request<M>) -> Result<(), Status> {
        let before = self.calls.fetch_add(1, Ordering::SeqCst);
        let timeout = request.metadata().get("grpc-timeout").map(|value| value.to_str().unwrap().to_owned());
        *self.timeout.lock().unwrap() = timeout;
        let behaviour = self.behaviour.lock().unwrap().clone();
        match behaviour {
            Behaviour::Answer => Ok(()),
            Behaviour::RefuseFirst(times, _) if before >= times => Ok(()),
            Behaviour::Hang => std::future::pending().await,
            Behaviour::Refuse(reason) => {
                Err(Refusal { reason, message: format!("{} refuses", self.name), aws_code: None }.to_status())
            }
            Behaviour::RefuseAsKiam(message) | Behaviour::RefuseFirst(_, message) => Err(Status::unknown(message)),
        }
    }
}

#[tonic::async_trait]
impl KiamService for Service {
    async fn get_pod_role(&self, request: Request<GetPodRoleRequest>) -> Result<Response<Role>, Status> {
        self.behave(&request).await?;
        let mut response = Response::new(Role { name: self.name.clone() });
        response.metadata_mut().insert(POD_UID, "u-1".parse().unwrap());
        Ok(response)
    }

    async fn get_pod_credentials(
        &self,
        request: Request<GetPodCredentialsRequest>,
    ) -> Result<Response<Credentials>, Status> {
        self.behave(&request).await?;
        let GetPodCredentialsRequest { ip, role } = request.into_inner();
        Ok(Response::new(Credentials {
            access_key_id: ip,
            token: role,
            secret_access_key: "secret".into(),
            expiration: "2026-11-21T10:00:00Z".into(),
            ..Credentials::default()
        }))
    }

    async fn get_health(&self, _: Request<GetHealthRequest>) -> Result<Response<HealthStatus>, Status> {
        match *self.behaviour.lock().unwrap() {
            Behaviour::Hang => Err(Status::unavailable("hanging")),
            _ => Ok(Response::new(HealthStatus { message: "ok".into() })),
        }
    }
}
