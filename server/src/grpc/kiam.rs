//! `kiam.KiamService`: Kiam v4's unary calls.

use std::net::SocketAddr;
use std::sync::Arc;

use kiam_common::telemetry::{rpc, short};
use kiam_proto::encoding::kiam_service_server::KiamService;
use kiam_proto::kiam::{GetHealthRequest, GetPodCredentialsRequest, GetPodRoleRequest, HealthStatus, Role};
use kiam_proto::{EncodedCredentials, POD_UID};
use tonic::{Request, Response, Status};
use tracing::Span;
use tracing::field::display;

use super::deadline::patience;
use super::evidence::evidence;
use super::status::status;
use crate::directory::pods::Pod;
use crate::error::Error;
use crate::issue::{Asked, Issuer};
use crate::policy::node::Caller;

/// What Kiam's clients take for healthy.
const OK: &str = "ok";

/// The service.
pub(super) struct Kiam {
    issuer: Arc<Issuer>,
}

impl Kiam {
    pub(super) fn new(issuer: Arc<Issuer>) -> Self {
        Self { issuer }
    }

    /// Which node the agent is of.
    async fn caller<M: Sync>(&self, request: &Request<M>) -> Result<Caller, Status> {
        let caller = self.issuer.node_binding.caller(evidence(request)).await.map_err(Error::from);
        caller.map_err(|error| {
            self.issuer.metrics.refused(error.reason());
            status(&error)
        })
    }

    async fn role(&self, request: Request<GetPodRoleRequest>) -> Result<Response<Role>, Status> {
        let caller = self.caller(&request).await?;
        let (agent, patience) = (request.remote_addr(), patience(request.metadata()));
        let GetPodRoleRequest { ip } = request.into_inner();
        log("GetPodRole", &ip, "", agent);
        let asked = Asked { caller: &caller, ip: &ip, patience };
        let role = self.issuer.role(asked).await.map_err(|error| status(&error))?;
        // Kiam's answer for a pod without a role is an empty name.
        let name = role.what.as_deref().unwrap_or_default().to_owned();
        Ok(answer(&role.pod, Role { name }))
    }

    async fn credentials(
        &self,
        request: Request<GetPodCredentialsRequest>,
    ) -> Result<Response<EncodedCredentials>, Status> {
        let caller = self.caller(&request).await?;
        let (agent, patience) = (request.remote_addr(), patience(request.metadata()));
        let GetPodCredentialsRequest { ip, role } = request.into_inner();
        log("GetPodCredentials", &ip, &role, agent);
        let issued = self.issuer.credentials(Asked { caller: &caller, ip: &ip, patience }, &role).await;
        let issued = issued.map_err(|error| status(&error))?;
        Ok(answer(&issued.pod, issued.what.encoded.clone()))
    }
}

#[tonic::async_trait]
impl KiamService for Kiam {
    async fn get_pod_role(&self, request: Request<GetPodRoleRequest>) -> Result<Response<Role>, Status> {
        let span = span("GetPodRole", &request, &request.get_ref().ip, None);
        rpc::within(span, self.role(request)).await
    }

    async fn get_pod_credentials(
        &self,
        request: Request<GetPodCredentialsRequest>,
    ) -> Result<Response<EncodedCredentials>, Status> {
        let GetPodCredentialsRequest { ip, role } = request.get_ref();
        let span = span("GetPodCredentials", &request, ip, Some(role));
        rpc::within(span, self.credentials(request)).await
    }

    async fn get_health(&self, request: Request<GetHealthRequest>) -> Result<Response<HealthStatus>, Status> {
        let span = rpc::answering("GetHealth", request.metadata());
        rpc::within(span, async { Ok(Response::new(HealthStatus { message: OK.into() })) }).await
    }
}

/// An answer that says which pod it is for.
fn answer<M>(pod: &Pod, message: M) -> Response<M> {
    let mut response = Response::new(message);
    if let Ok(uid) = pod.uid.to_string().parse() {
        response.metadata_mut().insert(POD_UID, uid);
    }
    response
}

/// The span of a call about a pod.
fn span<M>(method: &'static str, request: &Request<M>, ip: &str, role: Option<&str>) -> Span {
    let span = rpc::answering(method, request.metadata());
    if !span.is_disabled() {
        span.record("kiam.pod_ip", short(ip));
        span.record("kiam.role", role.map(short));
        span.record("client.address", request.remote_addr().map(|agent| display(agent.ip())));
    }
    span
}

fn log(method: &'static str, ip: &str, role: &str, agent: Option<SocketAddr>) {
    let agent = agent.map(display);
    tracing::debug!(method, pod_ip = ip, role, agent, "request");
}
