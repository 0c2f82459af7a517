//! The span of a pod's request. `http/mod.rs` answers within it.
//!
//! What must always hold: nothing of it is a path, a header or a document: names are those of routes, and of what a pod
//! says only the role that it asks for is in it, cut to a sensible length. A pod's own `traceparent` counts nothing: who
//! is traced is not for pods to say.

use std::fmt;
use std::net::IpAddr;

use http::{Method, StatusCode};
use kiam_common::telemetry::{SPANS, short};
use tracing::Span;
use tracing::field::Empty;

use super::route::Route;
use crate::ledger::Ledger;

/// A request of the pod at `ip`; without a route where the request has no sense.
pub(super) fn request(method: &Method, route: Option<Route<'_>>, ip: IpAddr, ledger: &Ledger) -> Span {
    let span = tracing::info_span!(
        target: SPANS, "request", otel.name = %Name { method, route }, otel.kind = "server", otel.status_code = Empty,
        http.request.method = name_of(method).unwrap_or("_OTHER"), http.route = route.and_then(template),
        http.response.status_code = Empty, "error.type" = Empty, client.address = %ip,
        k8s.namespace.name = Empty, k8s.pod.name = Empty, kiam.role = route.and_then(role), kiam.outcome = Empty
    );
    if !span.is_disabled()
        && let Some(pod) = ledger.pod(ip)
    {
        span.record("k8s.namespace.name", &*pod.namespace);
        span.record("k8s.pod.name", &*pod.name);
    }
    span
}

/// Says how the request of a span was answered; `refused` is the code of the refusal.
pub(super) fn answered(span: &Span, status: StatusCode, refused: Option<&'static str>) {
    span.record("http.response.status_code", i64::from(status.as_u16()));
    span.record("kiam.outcome", refused.unwrap_or("ok"));
    if status.is_server_error() {
        span.record("otel.status_code", "error");
        span.record("error.type", refused);
    }
}

/// The method and the route, as OpenTelemetry's conventions for HTTP have it.
struct Name<'r> {
    method: &'r Method,
    route: Option<Route<'r>>,
}

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(name_of(self.method).unwrap_or("HTTP"))?;
        self.route.and_then(template).map_or(Ok(()), |template| write!(f, " {template}"))
    }
}

/// One of the methods that have a name; what else a pod may call a method is its own affair.
fn name_of(method: &Method) -> Option<&str> {
    let known = [
        Method::GET,
        Method::HEAD,
        Method::PUT,
        Method::POST,
        Method::DELETE,
        Method::OPTIONS,
        Method::PATCH,
        Method::TRACE,
        Method::CONNECT,
    ];
    known.contains(method).then(|| method.as_str())
}

/// The paths of a route; none where they have nothing in common.
fn template(route: Route<'_>) -> Option<&'static str> {
    match route {
        Route::Ping => Some("/ping"),
        Route::Health => Some("/health"),
        Route::Token | Route::VersionedToken => Some("/{version}/api/token"),
        Route::ListWithoutSlash => Some("/{version}/meta-data/iam/security-credentials"),
        Route::RoleName => Some("/{version}/meta-data/iam/security-credentials/"),
        Route::Credentials { extended: false, .. } => Some("/{version}/meta-data/iam/security-credentials/{role}"),
        Route::Credentials { extended: true, .. } => {
            Some("/{version}/meta-data/iam/security-credentials-extended/{role}")
        }
        Route::NodeIdentity | Route::UserData | Route::Other | Route::MethodNotAllowed { .. } => None,
    }
}

fn role(route: Route<'_>) -> Option<&str> {
    match route {
        Route::Credentials { role, .. } => Some(short(role)),
        Route::Ping
        | Route::Health
        | Route::Token
        | Route::VersionedToken
        | Route::ListWithoutSlash
        | Route::RoleName
        | Route::NodeIdentity
        | Route::UserData
        | Route::Other
        | Route::MethodNotAllowed { .. } => None,
    }
}
