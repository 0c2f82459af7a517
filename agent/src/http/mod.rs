//! The metadata port: from a pod's request to its answer. Built by `app.rs`, called by `listener.rs`.
//!
//! A request runs `guard` → `route` → one of `imds` and `proxy` → answer, and is counted once, whatever becomes of
//! it. Who asks is told by the connection's source address and nothing else.

pub(crate) mod allowed;
pub(crate) mod body;
pub(crate) mod census;
pub(crate) mod error;
mod farewell;
pub(crate) mod flights;
pub(crate) mod guard;
pub(crate) mod imds;
pub(crate) mod listener;
pub(crate) mod peers;
pub(crate) mod proxy;
pub(crate) mod rejection;
pub(crate) mod route;
mod stall;
pub(crate) mod token;
mod trace;

use std::net::IpAddr;
use std::sync::Arc;

use ::http::request::Parts;
use ::http::{HeaderValue, Response, StatusCode, header};
use kiam_common::rarely::Rarely;
use tokio::time::Instant;
use tracing::Instrument as _;

use self::body::Body;
use self::guard::Target;
use self::imds::Imds;
use self::peers::{Peer, Peers};
use self::proxy::Proxy;
use self::route::Route;
use crate::error::Error;
use crate::metrics::{Handler, Metrics};
use crate::network::Watcher;

/// Answers the requests of pods.
pub(crate) struct Front {
    /// What is answered in the instance metadata service's place.
    pub(crate) imds: Imds,
    /// What only that service can answer.
    pub(crate) proxy: Proxy,
    /// Whether `?ip=` chooses the pod: for development only.
    pub(crate) allow_ip_query: bool,
    /// Who is connected, and how much each may take.
    pub(crate) peers: Arc<Peers>,
    /// For telling that somebody takes more.
    pub(crate) limits_told: Rarely,
    /// Knows when a pod's address leads to another, where the kernel tells.
    pub(crate) watcher: Option<Arc<Watcher>>,
    /// Counts every answer.
    pub(crate) metrics: Arc<Metrics>,
}

impl Front {
    /// A connection begins: whatever the network has reported so far counts for its requests.
    pub(crate) fn settle(&self) {
        if let Some(watcher) = &self.watcher {
            watcher.settle();
        }
    }

    /// Answers one request of a pod.
    pub(crate) async fn answer(&self, peer: &Peer, request: &Parts) -> Response<Body> {
        let started = Instant::now();
        let span = |route: Option<Route<'_>>| trace::request(&request.method, route, peer.ip, &self.imds.ledger);
        let (handler, span, (response, refused)) =
            match peer.begin().and_then(|turn| Ok((turn, guard::check(request)?))) {
                Ok((_turn, target)) => {
                    let route = route::find(&request.method, &target.path);
                    let span = span(Some(route));
                    let answering = async { self.told(peer, request, self.serve(route, peer, request, &target).await) };
                    (handler(route), span.clone(), answering.instrument(span).await)
                }
                Err(error) => {
                    let span = span(None);
                    let told = span.in_scope(|| self.told(peer, request, Err(error)));
                    (Handler::Guard, span, told)
                }
            };
        trace::answered(&span, response.status(), refused);
        self.metrics.answered(handler, response.status(), started.elapsed());
        response
    }

    /// The answer to a pod, which is told of; and the code, if it is a refusal.
    fn told(
        &self,
        peer: &Peer,
        request: &Parts,
        outcome: Result<Response<Body>, Error>,
    ) -> (Response<Body>, Option<&'static str>) {
        match outcome {
            Ok(response) => {
                tracing::debug!(pod_ip = %peer.ip, method = %request.method, path = request.uri.path(), "answered");
                (response, None)
            }
            Err(error) => (self.refusal(peer.ip, request, &error), Some(error::code(&error))),
        }
    }

    async fn serve(
        &self,
        route: Route<'_>,
        peer: &Peer,
        request: &Parts,
        target: &Target<'_>,
    ) -> Result<Response<Body>, Error> {
        let caller = || self.caller(peer, request, target);
        match route {
            Route::Ping => Ok(body::response(StatusCode::OK, body::TEXT, "pong")),
            Route::Health => self.health(target).await,
            Route::Token => self.imds.token(self.pod(peer.ip, target)?, &request.headers),
            Route::VersionedToken => Err(Error::VersionedToken),
            Route::MethodNotAllowed { allow } => Err(Error::MethodNotAllowed { allow }),
            Route::ListWithoutSlash => caller().map(|_| with_slash(target)),
            Route::RoleName => self.imds.role_name(caller()?).await,
            Route::Credentials { role, extended } => self.imds.credentials(caller()?, role, extended).await,
            Route::NodeIdentity => caller().and_then(|_| Err(self.proxy.blocked(Error::NodeIdentity))),
            Route::UserData => {
                caller()?;
                self.proxy.user_data(target).await
            }
            Route::Other => {
                caller()?;
                self.proxy.pass_on(target).await
            }
        }
    }

    /// The pod that asks, once the session token that it presents, if any, is found good.
    fn caller(&self, peer: &Peer, request: &Parts, target: &Target<'_>) -> Result<IpAddr, Error> {
        let has_token = request.headers.contains_key(token::TOKEN_HEADER);
        self.metrics.asked(has_token);
        if !has_token && peer.tokenless.is_due() {
            tracing::info!(pod_ip = %peer.ip, "this pod asks without session tokens (IMDSv1)");
        }
        let pod = self.pod(peer.ip, target)?;
        self.imds.check_token(pod, &request.headers)?;
        Ok(pod)
    }

    fn pod(&self, peer: IpAddr, target: &Target<'_>) -> Result<IpAddr, Error> {
        let Some(ip) = target.query_value("ip").filter(|_| self.allow_ip_query) else {
            return Ok(peer);
        };
        self.metrics.ip_query.inc();
        ip.parse().map_err(|_| Error::IpQuery)
    }

    /// Whether the instance metadata service answers, and, asked deeply, whether a server does.
    async fn health(&self, target: &Target<'_>) -> Result<Response<Body>, Error> {
        let deep = target.query_value("deep").is_some_and(|deep| !matches!(deep, "" | "0" | "false"));
        let instance_id = self.proxy.instance_id().await?;
        if deep {
            self.imds.check_server().await?;
        }
        Ok(instance_id)
    }

    /// Counts a connection that is not served at all.
    pub(crate) fn turned_away(&self, peer: IpAddr, error: &Error) {
        self.metrics.refused(error);
        let reason = error::code(error);
        if self.limits_told.is_due() {
            tracing::warn!(pod_ip = %peer, reason, "connections are refused: {error}");
        }
    }

    /// Counts the requests that are still being answered at the agent's end, and are cut off by it.
    pub(crate) fn cut_off(&self) {
        self.metrics.cut_off(self.peers.census().requests);
    }

    fn refusal(&self, peer: IpAddr, request: &Parts, error: &Error) -> Response<Body> {
        self.metrics.refused(error);
        let code = error::code(error);
        let response = error::response(error);
        let (method, path, status) = (&request.method, request.uri.path(), response.status().as_u16());
        if *error == Error::TooManyRequests && !self.limits_told.is_due() {
            return response;
        }
        if response.status().is_server_error() {
            tracing::warn!(pod_ip = %peer, %method, path, status, reason = code, "{error}");
        } else {
            tracing::info!(pod_ip = %peer, %method, path, status, reason = code, "{error}");
        }
        response
    }
}

/// The `handler` label of a route.
fn handler(route: Route<'_>) -> Handler {
    match route {
        Route::Ping => Handler::Ping,
        Route::Health => Handler::Health,
        Route::Token | Route::VersionedToken => Handler::Token,
        Route::ListWithoutSlash | Route::RoleName => Handler::RoleName,
        Route::Credentials { .. } => Handler::Credentials,
        Route::NodeIdentity | Route::UserData | Route::Other => Handler::Proxy,
        Route::MethodNotAllowed { .. } => Handler::Guard,
    }
}

/// 301 to the same path with a slash: what the instance metadata service and Kiam answer.
fn with_slash(target: &Target<'_>) -> Response<Body> {
    let location = match target.query {
        Some(query) => format!("{}/?{query}", target.path),
        None => format!("{}/", target.path),
    };
    let mut response = body::response(StatusCode::MOVED_PERMANENTLY, body::TEXT, "");
    if let Ok(location) = HeaderValue::try_from(location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

#[cfg(test)]
mod tests;
