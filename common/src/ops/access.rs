//! Who may read metrics, where `--metrics-auth=kubernetes` asks: whoever bears a token that somebody else finds good, which
//! is remembered for a moment. The server asks the Kubernetes API, the agent asks a server.
//!
//! What must always hold: no answer is no; no token is ever shown.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::serve::{Page, text};
use crate::bearer;
use crate::clock::Clock;
use crate::review::{NoVerdict, Patience, ReviewMetrics, Reviewer, Reviews};
use crate::secret::Secret;

/// Who may no longer is refused within two minutes.
const PATIENCE: Patience = Patience { renew_after: Duration::from_mins(1), stale_after: Duration::from_mins(2) };

/// Who can tell.
#[async_trait]
pub trait Access: Send + Sync + std::fmt::Debug + 'static {
    /// Whether who bears this token may get this path.
    async fn review(&self, token: &Secret, path: &str) -> Result<(), Denial>;
}

/// Why somebody may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// The token is nobody's, or has ended.
    #[error("the bearer token is not accepted")]
    Unknown,
    /// It is somebody's who may not.
    #[error("not allowed: expected somebody who may get this non-resource URL")]
    Forbidden,
    /// Nobody can tell now.
    #[error("the Kubernetes API does not say whether the bearer token is good")]
    Unanswered,
}

impl From<NoVerdict> for Denial {
    fn from(none: NoVerdict) -> Self {
        match none {
            NoVerdict::TooLong => Self::Unknown,
            NoVerdict::Unanswered => Self::Unanswered,
        }
    }
}

/// Remembers what a reviewer has said.
#[derive(Debug)]
pub struct Reviewed<R: Reviewer>(Arc<Reviews<R>>);

impl<R: Reviewer<Good = (), Bad = Denial>> Reviewed<R> {
    /// Asks `reviewer`.
    pub fn by(reviewer: R, clock: Clock, metrics: ReviewMetrics) -> Self {
        Self(Reviews::new(reviewer, PATIENCE, clock, metrics))
    }
}

#[async_trait]
impl<R: Reviewer<Good = (), Bad = Denial>> Access for Reviewed<R> {
    async fn review(&self, token: &Secret, path: &str) -> Result<(), Denial> {
        self.0.verdict(token.expose(), path).await
    }
}

impl Denial {
    /// The page that says so.
    pub(super) fn page(self) -> Page {
        let status = match self {
            Self::Unknown => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::Unanswered => StatusCode::SERVICE_UNAVAILABLE,
        };
        refused(status, &self.to_string())
    }
}

/// The page for who bears no token.
pub(super) fn no_token() -> Page {
    refused(StatusCode::UNAUTHORIZED, "expected Authorization: Bearer with a service account token")
}

fn refused(status: StatusCode, why: &str) -> Page {
    let mut page = text(status, format!("{why}\n"));
    if status == StatusCode::UNAUTHORIZED {
        page.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    page
}

/// The token that a request bears.
pub(super) fn token(headers: &HeaderMap) -> Option<Secret> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    bearer::token(value).filter(|token| !token.is_empty()).map(|token| Secret::new(token.to_owned()))
}
