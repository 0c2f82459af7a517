//! The smallest server there is: its health, over mutual TLS.

#![expect(clippy::expect_used, clippy::missing_panics_doc, reason = "a test without its server can only stop")]

use std::net::SocketAddr;
use std::sync::Arc;

use kiam_proto::kiam::kiam_service_server::{KiamService, KiamServiceServer};
use kiam_proto::kiam::{
    Credentials, GetHealthRequest, GetPodCredentialsRequest, GetPodRoleRequest, HealthStatus, Role,
};
use tokio::net::TcpListener;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use crate::shutdown::Shutdown;
use crate::tls::{Identity, accept};

/// Serves on any free port of 127.0.0.1 until `shutdown`. `GetHealth` says `message`; the rest is unimplemented.
pub async fn serve_health(identity: Arc<Identity>, message: &str, shutdown: Shutdown) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("a bound socket");
    let service = KiamServiceServer::new(HealthOnly { message: message.to_owned() });
    tokio::spawn(async move {
        let incoming = accept(listener, identity, shutdown.clone());
        Server::builder().add_service(service).serve_with_incoming_shutdown(incoming, shutdown.begun()).await
    });
    address
}

struct HealthOnly {
    message: String,
}

#[tonic::async_trait]
impl KiamService for HealthOnly {
    async fn get_pod_role(&self, _: Request<GetPodRoleRequest>) -> Result<Response<Role>, Status> {
        Err(Status::unimplemented("health only"))
    }

    async fn get_pod_credentials(&self, _: Request<GetPodCredentialsRequest>) -> Result<Response<Credentials>, Status> {
        Err(Status::unimplemented("health only"))
    }

    async fn get_health(&self, _: Request<GetHealthRequest>) -> Result<Response<HealthStatus>, Status> {
        Ok(Response::new(HealthStatus { message: self.message.clone() }))
    }
}
