//! The yardsticks: the least that hyper and tonic can do with the same bytes. No routes, no policy, no look-up.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use kiam_common::args::TlsArgs;
use kiam_common::shutdown::Shutdown;
use kiam_common::tls::{self, Identity};
use kiam_proto::kiam::kiam_service_server::{KiamService, KiamServiceServer};
use kiam_proto::kiam::{
    Credentials, GetHealthRequest, GetPodCredentialsRequest, GetPodRoleRequest, HealthStatus, Role,
};
use tokio::net::TcpListener;
use tonic::Status;

/// Answers every request with `body`.
pub(crate) async fn hyper(body: Bytes) {
    let listener = listener().await;
    loop {
        let (stream, _) = listener.accept().await.expect("accept");
        stream.set_nodelay(true).expect("TCP_NODELAY");
        let body = body.clone();
        let answer = service_fn(move |_: Request<hyper::body::Incoming>| {
            let answer = Response::builder().header("content-type", "application/json").body(Full::new(body.clone()));
            async move { Ok::<_, Infallible>(answer.expect("a valid answer")) }
        });
        tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
    }
}

/// Answers every `GetPodCredentials` with the same credentials, behind the same mTLS as the server's.
pub(crate) async fn tonic(files: TlsArgs, credentials: Credentials) {
    let listener = listener().await;
    let identity = Identity::load(&files).await.expect("the server's certificate");
    tonic::transport::Server::builder()
        .tcp_nodelay(true)
        .add_service(KiamServiceServer::new(Echo(Arc::new(credentials))))
        .serve_with_incoming(tls::accept(listener, identity, Shutdown::new()))
        .await
        .expect("the yardstick serves until it is killed");
}

struct Echo(Arc<Credentials>);

#[tonic::async_trait]
impl KiamService for Echo {
    async fn get_pod_role(&self, _: tonic::Request<GetPodRoleRequest>) -> Result<tonic::Response<Role>, Status> {
        Err(Status::unimplemented("not measured"))
    }

    async fn get_pod_credentials(
        &self,
        _: tonic::Request<GetPodCredentialsRequest>,
    ) -> Result<tonic::Response<Credentials>, Status> {
        Ok(tonic::Response::new(Credentials::clone(&self.0)))
    }

    async fn get_health(&self, _: tonic::Request<GetHealthRequest>) -> Result<tonic::Response<HealthStatus>, Status> {
        Err(Status::unimplemented("not measured"))
    }
}

/// A listener on a free loopback port, which is printed for who started this process.
async fn listener() -> TcpListener {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    println!("{}", listener.local_addr().expect("its address"));
    listener
}
