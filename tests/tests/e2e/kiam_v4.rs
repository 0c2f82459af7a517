//! The agent with a server that behaves as Kiam v4's does: every failure is `Unknown`, two of them known by their
//! message, no details, no waiting.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::StatusCode;
use kiam_common::shutdown::Shutdown;
use kiam_common::tls::{Identity, accept, install_crypto_provider};
use kiam_proto::kiam::kiam_service_server::{KiamService, KiamServiceServer};
use kiam_proto::kiam::{
    Credentials, GetHealthRequest, GetPodCredentialsRequest, GetPodRoleRequest, HealthStatus, Role,
};
use kiam_tests::imds::Imds;
use kiam_tests::real::http::get;
use tokio::net::TcpListener;
use tonic::{Request, Response, Status};

use crate::world::{CREDENTIALS, Identities, Logs, agent};

/// Knows one pod, 127.0.0.2, with the role `reader`; and 127.0.0.3 from the third time it is asked.
#[derive(Default)]
struct KiamV4 {
    asked_for_latecomer: AtomicUsize,
}

impl KiamV4 {
    fn know(&self, ip: &str) -> Result<(), Status> {
        let known = match ip {
            "127.0.0.2" => true,
            "127.0.0.3" => self.asked_for_latecomer.fetch_add(1, Ordering::Relaxed) >= 2,
            _ => false,
        };
        if known { Ok(()) } else { Err(Status::unknown("no pod found")) }
    }
}

#[tonic::async_trait]
impl KiamService for KiamV4 {
    async fn get_pod_role(&self, request: Request<GetPodRoleRequest>) -> Result<Response<Role>, Status> {
        self.know(&request.get_ref().ip)?;
        Ok(Response::new(Role { name: "reader".into() }))
    }

    async fn get_pod_credentials(
        &self,
        request: Request<GetPodCredentialsRequest>,
    ) -> Result<Response<Credentials>, Status> {
        self.know(&request.get_ref().ip)?;
        if request.get_ref().role != "reader" {
            return Err(Status::unknown("forbidden by policy"));
        }
        Ok(Response::new(Credentials {
            code: "Success".into(),
            r#type: "AWS-HMAC".into(),
            access_key_id: "ASIAV4".into(),
            secret_access_key: "secret".into(),
            token: "token".into(),
            expiration: "2036-01-01T00:00:00Z".into(),
            last_updated: "2026-01-01T00:00:00Z".into(),
            ..Credentials::default()
        }))
    }

    async fn get_health(&self, _: Request<GetHealthRequest>) -> Result<Response<HealthStatus>, Status> {
        Ok(Response::new(HealthStatus { message: "ok".into() }))
    }
}

#[tokio::test]
async fn the_agent_works_with_a_server_of_kiam_v4() {
    install_crypto_provider();
    let identities = Identities::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let identity = Identity::load(&identities.server).await.expect("sound files");
    let connections = accept(listener, Arc::clone(&identity), Shutdown::new());
    let service = KiamServiceServer::new(KiamV4::default());
    let server = tonic::transport::Server::builder().add_service(service).serve_with_incoming(connections);
    let _server = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(server));
    let (imds, logs) = (Imds::start().await.expect("a free port"), Logs::new());
    let agent = logs.start("agent", &agent(address, &imds, &identities.agent)).await;

    let ask = async |pod: [u8; 4], path: &str| get(IpAddr::from(pod), agent.addresses().main, path).await;
    assert_eq!(ask([127, 0, 0, 2], CREDENTIALS).await.body, "reader");
    let reader = format!("{CREDENTIALS}reader");
    assert_eq!(ask([127, 0, 0, 2], &reader).await.field("AccessKeyId"), "ASIAV4");
    assert_eq!(ask([127, 0, 0, 3], &reader).await.status, StatusCode::OK, "the agent asks again by itself");
    let forbidden = ask([127, 0, 0, 2], &format!("{CREDENTIALS}writer")).await;
    assert_eq!((forbidden.status, forbidden.field("Code").as_str()), (StatusCode::FORBIDDEN, "Forbidden"));
    let unknown = ask([127, 0, 0, 4], &reader).await;
    assert_eq!((unknown.status, unknown.field("Code").as_str()), (StatusCode::NOT_FOUND, "PodNotFound"));
    assert_eq!(ask([127, 0, 0, 2], "/health?deep=1").await.status, StatusCode::OK);
}
