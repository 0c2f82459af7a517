//! Reviews agents' tokens by the Kubernetes API.

use async_trait::async_trait;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewStatus};
use kiam_common::review::Unanswered;
use kiam_common::secret::Secret;
use kube::Client;
use kube::api::Api;

use super::review::{Review, TokenReviews};
use crate::token_review;

/// Kubernetes 1.30 and newer says here on which node the pod of a token is.
const NODE_NAME: &str = "authentication.kubernetes.io/node-name";

/// The API of a cluster.
#[derive(Clone)]
pub struct KubernetesReviews {
    reviews: Api<TokenReview>,
}

impl KubernetesReviews {
    /// Asks through `client`.
    pub fn new(client: Client) -> Self {
        Self { reviews: Api::all(client) }
    }
}

impl std::fmt::Debug for KubernetesReviews {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KubernetesReviews")
    }
}

#[async_trait]
impl TokenReviews for KubernetesReviews {
    async fn review(&self, token: &Secret, audience: &str) -> Result<Review, Unanswered> {
        token_review::review(&self.reviews, token, Some(audience)).await.map(read)
    }
}

fn read(status: TokenReviewStatus) -> Review {
    if status.authenticated != Some(true) {
        return Review::Refused(status.error.unwrap_or_default());
    }
    let mut extra = status.user.and_then(|user| user.extra).unwrap_or_default();
    let node = extra.remove(NODE_NAME).and_then(|values| values.into_iter().next());
    Review::Authentic { node, audiences: status.audiences.unwrap_or_default() }
}
