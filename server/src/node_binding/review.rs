//! TokenReview: the one thing that node binding needs of the outside. [`super::kubernetes`] asks the real API;
//! [`super::fake`] answers as a test says.

use async_trait::async_trait;
use kiam_common::review::Unanswered;
use kiam_common::secret::Secret;

/// Who can tell whether a token is good.
#[async_trait]
pub trait TokenReviews: Send + Sync + std::fmt::Debug + 'static {
    /// Asks whether a token is good for this audience.
    async fn review(&self, token: &Secret, audience: &str) -> Result<Review, Unanswered>;
}

/// What the Kubernetes API says of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Review {
    /// It is not good, and why.
    Refused(String),
    /// It is good.
    Authentic {
        /// The node of the pod that it was made for, if it was made for one and the API server is new enough to say.
        node: Option<String>,
        /// For whom it is good.
        audiences: Vec<String>,
    },
}
