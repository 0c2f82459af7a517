//! What is shown at which path, and to whom.

use std::net::SocketAddr;
use std::sync::Arc;

use http::request::Parts;
use http::{HeaderValue, StatusCode};
use tokio::runtime::Handle;

use super::access::{self, Access, Denial};
use super::errors::MetricErrors;
use super::query::{self, Scope, Wanted};
use super::serve::{Arrival, Page, page, text};
use super::{Endpoint, Fleet, Readiness};
use crate::registry::Registry;

/// The pages of a program.
#[derive(Clone, Debug)]
pub(super) struct Pages {
    pub(super) registry: Registry,
    pub(super) errors: MetricErrors,
    pub(super) readiness: Readiness,
    /// Where the metrics are.
    pub(super) here: Endpoint,
    /// Who is asked whether somebody may read them; nobody, if everybody may.
    pub(super) access: Option<Arc<dyn Access>>,
    /// The agents, if the program is a server.
    pub(super) fleet: Option<Arc<dyn Fleet>>,
    /// The program's own runtime: whatever asks others runs there, where its connections are.
    pub(super) program: Handle,
}

impl Pages {
    /// The answer to a GET.
    pub(super) async fn get(self, request: Parts) -> Page {
        match (request.uri.path(), &self.fleet) {
            // The kubelet has neither a token nor a certificate.
            ("/live", _) => text(StatusCode::OK, "ok\n"),
            ("/ready", _) => self.ready(),
            (path, _) if path == &*self.here.path => match self.admit(&request).await {
                Ok(()) => self.metrics(&request).await,
                Err(refused) => refused,
            },
            ("/sd", Some(fleet)) => match self.admit(&request).await {
                Ok(()) => self.targets(&**fleet, &request).await,
                Err(refused) => refused,
            },
            (_, fleet) => {
                let sd = if fleet.is_some() { ", /sd" } else { "" };
                text(StatusCode::NOT_FOUND, format!("not found: try {}{sd}, /live or /ready\n", self.here.path))
            }
        }
    }

    async fn metrics(&self, request: &Parts) -> Page {
        let wanted = match Wanted::parse(request.uri.query().unwrap_or_default()) {
            Ok(wanted) => wanted,
            Err(wrong) => return query::refused(&wrong),
        };
        let families = match (wanted.scope, &self.fleet) {
            (Scope::Own, _) => self.registry.gather(),
            (Scope::Fleet { per_node }, Some(fleet)) => fleet.families(per_node).await,
            (Scope::Fleet { .. }, None) => {
                return query::refused("scope: \"fleet\" is not known here: expected a server");
            }
        };
        let page = query::answer(families, &wanted, &request.headers);
        if page.status().is_server_error() {
            self.errors.count();
        }
        page
    }

    async fn targets(&self, fleet: &dyn Fleet, request: &Parts) -> Page {
        let reached = request.extensions.get::<Arrival>().and_then(|arrival| arrival.at);
        let address = reached.map_or(self.here.address, |at| SocketAddr::new(at.ip().to_canonical(), at.port()));
        let targets = fleet.targets(&Endpoint { address, ..self.here.clone() }).await;
        page(StatusCode::OK, HeaderValue::from_static("application/json"), targets)
    }

    fn ready(&self) -> Page {
        match self.readiness.waiting_for().as_slice() {
            [] => text(StatusCode::OK, "ready\n"),
            names => text(StatusCode::SERVICE_UNAVAILABLE, names.join("\n") + "\n"),
        }
    }

    /// Lets in who may read metrics.
    async fn admit(&self, request: &Parts) -> Result<(), Page> {
        if request.extensions.get::<Arrival>().is_some_and(|arrival| arrival.lacks_certificate) {
            return Err(text(StatusCode::FORBIDDEN, "expected a client certificate that --metrics-client-ca knows\n"));
        }
        let Some(access) = self.access.clone() else { return Ok(()) };
        let token = access::token(&request.headers).ok_or_else(access::no_token)?;
        let path = request.uri.path().to_owned();
        let review = self.program.spawn(async move { access.review(&token, &path).await });
        review.await.unwrap_or(Err(Denial::Unanswered)).map_err(Denial::page)
    }
}
