//! Calls to the servers over gRPC: which server to ask, when to ask another, and when to ask again.

use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use kiam_common::reason::{Reason, Refusal};
use kiam_common::telemetry::rpc;
use kiam_proto::{POD_UID, kiam};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tonic::{Request, Response, Status};

use super::{Answered, Server};
use crate::sync::endpoint::{Client, Endpoint};
use crate::sync::endpoints::Endpoints;
use crate::sync::status::{refusal, unreachable};

/// A server that is silent this long is not waited for alone: the next is asked as well. SDKs give up after a
/// second, but our own servers are silent while they wait for a pod that they have yet to hear of.
const ASK_ANOTHER_AFTER: Duration = Duration::from_millis(900);
/// The first pause before all servers are asked again, doubled each time.
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// The servers, asked over gRPC.
pub(crate) struct Calls {
    endpoints: Arc<Endpoints>,
}

impl Calls {
    /// Asks these servers.
    pub(crate) fn new(endpoints: Arc<Endpoints>) -> Self {
        Self { endpoints }
    }

    /// Asks until there is an answer or a refusal that asking again would not change, at most until `deadline`.
    async fn ask<T, F>(
        &self,
        method: &'static str,
        deadline: Instant,
        call: impl Fn(Client) -> F + Sync,
    ) -> Result<Answered<T>, Refusal>
    where
        F: Future<Output = Result<Response<T>, Status>> + Send,
        T: Send,
    {
        let mut last = None;
        let asking = async {
            let mut pause = PAUSE_MIN;
            loop {
                match self.round(method, &call).await {
                    Err(refusal) if may_change(refusal.reason) => last = Some(refusal),
                    outcome => return outcome,
                }
                sleep(pause.mul_f64(0.75 + fastrand::f64() / 2.0)).await;
                pause = PAUSE_MAX.min(pause * 2);
            }
        };
        let outcome = timeout_at(deadline, asking).await;
        outcome.unwrap_or_else(|_| Err(last.unwrap_or_else(|| self.all_failed(None))))
    }

    /// Asks one server after the other until one has an answer or a refusal of its own: the next at once when one
    /// fails, and as well when one is silent.
    async fn round<T, F>(
        &self,
        method: &'static str,
        call: &(impl Fn(Client) -> F + Sync),
    ) -> Result<Answered<T>, Refusal>
    where
        F: Future<Output = Result<Response<T>, Status>> + Send,
        T: Send,
    {
        let mut waiting = self.endpoints.in_turn().into_iter();
        let mut silent = Vec::new();
        let mut asked = FuturesUnordered::new();
        let mut last = None;
        loop {
            let newest = waiting.next();
            asked.extend(newest.iter().map(|endpoint| self.attempt(method, endpoint.clone(), call)));
            let answer =
                if waiting.len() > 0 { timeout(ASK_ANOTHER_AFTER, asked.next()).await } else { Ok(asked.next().await) };
            match answer {
                Err(_) => silent.extend(newest),
                Ok(None) => return Err(self.all_failed(last)),
                Ok(Some((_, Err(refusal)))) if is_of_this_server(refusal.reason) => last = Some(refusal),
                Ok(Some((by, outcome))) => {
                    let slower = |endpoint: &&Arc<Endpoint>| !Arc::ptr_eq(endpoint, &by);
                    silent.iter().filter(slower).for_each(|endpoint| endpoint.doubt());
                    return outcome;
                }
            }
        }
    }

    /// Nobody answered; `last` is what the last to fail said.
    fn all_failed(&self, last: Option<Refusal>) -> Refusal {
        let refusal = last.unwrap_or_else(|| unreachable("none is known, or none answers"));
        self.endpoints.all_failed(&refusal.message);
        refusal
    }

    async fn attempt<T, F>(
        &self,
        method: &'static str,
        endpoint: Arc<Endpoint>,
        call: &(impl Fn(Client) -> F + Sync),
    ) -> (Arc<Endpoint>, Result<Answered<T>, Refusal>)
    where
        F: Future<Output = Result<Response<T>, Status>> + Send,
    {
        let calling = async { call(endpoint.client()).await };
        let outcome = rpc::within(rpc::calling(method, endpoint.address()), calling).await;
        let outcome = outcome.map(answered).map_err(|status| refusal(&status));
        match &outcome {
            Err(refusal) if is_of_this_server(refusal.reason) => self.endpoints.failed(&endpoint),
            _ => self.endpoints.answered(&endpoint),
        }
        (endpoint, outcome)
    }
}

#[async_trait]
impl Server for Calls {
    async fn role(&self, pod: IpAddr, deadline: Instant) -> Result<Answered<String>, Refusal> {
        let message = kiam::GetPodRoleRequest { ip: pod.to_string() };
        let call = |mut client: Client| {
            let request = request(message.clone(), deadline);
            async move { client.get_pod_role(request).await }
        };
        let Answered { what, uid } = self.ask("GetPodRole", deadline, call).await?;
        Ok(Answered { what: what.name, uid })
    }

    async fn credentials(
        &self,
        pod: IpAddr,
        role: &str,
        deadline: Instant,
    ) -> Result<Answered<kiam::Credentials>, Refusal> {
        let message = kiam::GetPodCredentialsRequest { ip: pod.to_string(), role: role.to_owned() };
        let call = |mut client: Client| {
            let request = request(message.clone(), deadline);
            async move { client.get_pod_credentials(request).await }
        };
        self.ask("GetPodCredentials", deadline, call).await
    }

    async fn health(&self, deadline: Instant) -> Result<String, Refusal> {
        let call = |mut client: Client| {
            let request = request(kiam::GetHealthRequest {}, deadline);
            async move { client.get_health(request).await }
        };
        Ok(self.ask("GetHealth", deadline, call).await?.what.message)
    }
}

/// A request that tells the server how long its answer is of use, and which span it belongs to.
fn request<M>(message: M, deadline: Instant) -> Request<M> {
    let mut request = Request::new(message);
    request.set_timeout(deadline.saturating_duration_since(Instant::now()));
    rpc::announce(request.metadata_mut());
    request
}

fn answered<T>(response: Response<T>) -> Answered<T> {
    let uid = response.metadata().get(POD_UID).and_then(|uid| uid.to_str().ok()).map(Box::from);
    Answered { what: response.into_inner(), uid }
}

/// Whether asking another server at once may help.
fn is_of_this_server(reason: Reason) -> bool {
    match reason {
        Reason::ServerUnreachable | Reason::ServerNotReady => true,
        Reason::PodNotFound
        | Reason::PodAmbiguous
        | Reason::NoRole
        | Reason::InvalidAnnotation
        | Reason::Forbidden
        | Reason::AgentRefused
        | Reason::WrongNode
        | Reason::StsRefused
        | Reason::StsUnavailable
        | Reason::Stale
        | Reason::Unconfirmed
        | Reason::BadRequest
        | Reason::Internal => false,
    }
}

/// Whether asking again in a moment may help. Our own servers wait for a pod themselves; Kiam v4's do not.
fn may_change(reason: Reason) -> bool {
    reason == Reason::PodNotFound || is_of_this_server(reason)
}
