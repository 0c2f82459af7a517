//! Reviews tokens by the Kubernetes API: `authentication.k8s.io/v1`. Needs create on tokenreviews.

use async_trait::async_trait;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus};
use kiam_common::secret::Secret;
use kube::Client;
use kube::api::{Api, PostParams};

use super::review::{Review, ReviewError, TokenReviews};

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
    async fn review(&self, token: &Secret, audience: &str) -> Result<Review, ReviewError> {
        let spec =
            TokenReviewSpec { token: Some(token.expose().to_owned()), audiences: Some(vec![audience.to_owned()]) };
        let review = TokenReview { spec, ..TokenReview::default() };
        let reviewed = self.reviews.create(&PostParams::default(), &review).await;
        let reviewed = reviewed.map_err(|error| ReviewError(error.to_string()))?;
        Ok(read(reviewed.status.unwrap_or_default()))
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
