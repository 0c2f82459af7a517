//! What is shown at which path, and to whom.

use std::sync::Arc;

use http::{Request, StatusCode};
use prometheus::Registry;
use tokio::runtime::Handle;

use super::Readiness;
use super::access::{self, Access, Denial};
use super::errors::MetricErrors;
use super::query;
use super::serve::{Arrival, Page, text};

/// The pages of a program.
#[derive(Clone, Debug)]
pub(super) struct Pages {
    pub(super) registry: Registry,
    pub(super) errors: MetricErrors,
    pub(super) readiness: Readiness,
    /// Where the metrics are.
    pub(super) path: Arc<str>,
    /// Who is asked whether somebody may read them; nobody, if everybody may.
    pub(super) access: Option<Arc<dyn Access>>,
    /// The program's own runtime: whatever asks others runs there, where its connections are.
    pub(super) program: Handle,
}

impl Pages {
    /// The answer to a GET.
    pub(super) async fn get<B>(self, request: Request<B>) -> Page {
        match request.uri().path() {
            // The kubelet has neither a token nor a certificate.
            "/live" => text(StatusCode::OK, "ok\n"),
            "/ready" => self.ready(),
            path if path == &*self.path => match self.admit(&request).await {
                Ok(()) => self.metrics(&request),
                Err(refused) => refused,
            },
            _ => text(StatusCode::NOT_FOUND, format!("not found: try {}, /live or /ready\n", self.path)),
        }
    }

    fn metrics<B>(&self, request: &Request<B>) -> Page {
        let page = query::answer(&self.registry, request.uri().query().unwrap_or_default(), request.headers());
        if page.status().is_server_error() {
            self.errors.count();
        }
        page
    }

    fn ready(&self) -> Page {
        match self.readiness.waiting_for().as_slice() {
            [] => text(StatusCode::OK, "ready\n"),
            names => text(StatusCode::SERVICE_UNAVAILABLE, names.join("\n") + "\n"),
        }
    }

    /// Lets in who may read metrics.
    async fn admit<B>(&self, request: &Request<B>) -> Result<(), Page> {
        if request.extensions().get::<Arrival>().is_some_and(|arrival| arrival.lacks_certificate) {
            return Err(text(StatusCode::FORBIDDEN, "expected a client certificate that --metrics-client-ca knows\n"));
        }
        let Some(access) = self.access.clone() else { return Ok(()) };
        let token = access::token(request).ok_or_else(access::no_token)?;
        let path = request.uri().path().to_owned();
        let review = self.program.spawn(async move { access.review(&token, &path).await });
        review.await.unwrap_or(Err(Denial::Unanswered)).map_err(Denial::page)
    }
}
