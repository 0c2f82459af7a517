//! Asks the Kubernetes API about a token: `authentication.k8s.io/v1`. Needs create on tokenreviews. For
//! [`crate::node_binding`] and [`crate::scrapers`], which read the answer each for what it needs.

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus};
use kiam_common::review::Unanswered;
use kiam_common::secret::Secret;
use kube::api::{Api, PostParams};

/// What the API says of a token: whether it is good for `audience`, or for the API itself if none is given.
pub(crate) async fn review(
    api: &Api<TokenReview>,
    token: &Secret,
    audience: Option<&str>,
) -> Result<TokenReviewStatus, Unanswered> {
    let audiences = audience.map(|audience| vec![audience.to_owned()]);
    let spec = TokenReviewSpec { token: Some(token.expose().to_owned()), audiences };
    let review = TokenReview { spec, ..TokenReview::default() };
    let reviewed = api.create(&PostParams::default(), &review).await;
    Ok(reviewed.map_err(|error| Unanswered(error.to_string()))?.status.unwrap_or_default())
}
