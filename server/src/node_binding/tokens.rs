//! From an agent's token to its node: by what the Kubernetes API says of it, remembered and shared as
//! [`kiam_common::review`] has it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use kiam_common::clock::Clock;
use kiam_common::review::{NoVerdict, Patience, ReviewMetrics, Reviewer, Reviews, Unanswered};
use kiam_common::secret::Secret;

use super::review::{Review, TokenReviews};
use super::{BindingError, Token};

/// A pod that has gone is known to have within five minutes.
const PATIENCE: Patience = Patience { renew_after: Duration::from_mins(4), stale_after: Duration::from_mins(5) };

/// Tells the nodes of tokens.
#[derive(Debug)]
pub struct Tokens {
    reviews: Arc<Reviews<Nodes>>,
    audience: String,
}

impl Tokens {
    /// Takes tokens that were made for `audience`.
    pub fn new(reviews: Arc<dyn TokenReviews>, audience: String, clock: Clock, metrics: ReviewMetrics) -> Self {
        Self { reviews: Reviews::new(Nodes(reviews), PATIENCE, clock, metrics), audience }
    }

    /// The node that a token is of.
    pub(super) async fn node_of(&self, token: Token<'_>) -> Result<Arc<str>, BindingError> {
        self.reviews.verdict(token.0, &self.audience).await
    }
}

/// Reads a review for what binds an agent to its node.
#[derive(Debug)]
struct Nodes(Arc<dyn TokenReviews>);

#[async_trait]
impl Reviewer for Nodes {
    type Good = Arc<str>;
    type Bad = BindingError;

    async fn review(&self, token: &Secret, audience: &str) -> Result<Result<Arc<str>, BindingError>, Unanswered> {
        let (refusal, why) = match self.0.review(token, audience).await? {
            Review::Refused(why) => (BindingError::TokenRefused, why),
            Review::Authentic { audiences, .. } if !audiences.iter().any(|known| known == audience) => {
                (BindingError::TokenRefused, format!("it is for {audiences:?}"))
            }
            Review::Authentic { node: Some(node), .. } if !node.is_empty() => return Ok(Ok(node.into())),
            Review::Authentic { .. } => (BindingError::NotOfNode, "it names no node".into()),
        };
        tracing::warn!(audience, why, "a service account token is refused");
        Ok(Err(refusal))
    }
}

impl From<NoVerdict> for BindingError {
    fn from(none: NoVerdict) -> Self {
        match none {
            NoVerdict::TooLong => Self::TokenRefused,
            NoVerdict::Unanswered => Self::Unreviewed,
        }
    }
}
