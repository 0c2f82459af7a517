//! Who may read metrics, by the Kubernetes API: TokenReview says whose a token is, SubjectAccessReview whether that account
//! may `get` the path. Asked by the server's own listener, and for agents by [`crate::grpc`]. Needs create on both.

use std::fmt;

use async_trait::async_trait;
use k8s_openapi::api::authentication::v1::{TokenReview, UserInfo};
use k8s_openapi::api::authorization::v1::{NonResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kiam_common::ops::Denial;
use kiam_common::review::{Reviewer, Unanswered};
use kiam_common::secret::Secret;
use kube::Client;
use kube::api::{Api, PostParams};

use crate::token_review;

/// The API of a cluster.
#[derive(Clone)]
pub struct KubernetesScrapers {
    tokens: Api<TokenReview>,
    access: Api<SubjectAccessReview>,
}

impl KubernetesScrapers {
    /// Asks through `client`.
    pub fn new(client: Client) -> Self {
        Self { tokens: Api::all(client.clone()), access: Api::all(client) }
    }

    /// Whose a token is, if it is anybody's. It must be one for the Kubernetes API itself, as scrapers have it.
    async fn user(&self, token: &Secret) -> Result<Option<UserInfo>, Unanswered> {
        let status = token_review::review(&self.tokens, token, None).await?;
        Ok(status.user.filter(|_| status.authenticated == Some(true)))
    }

    async fn may_get(&self, user: UserInfo, path: &str) -> Result<bool, Unanswered> {
        let wanted = NonResourceAttributes { path: Some(path.to_owned()), verb: Some("get".to_owned()) };
        let UserInfo { username, uid, groups, extra } = user;
        let spec = SubjectAccessReviewSpec {
            user: username,
            uid,
            groups,
            extra,
            non_resource_attributes: Some(wanted),
            resource_attributes: None,
        };
        let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
        let reviewed = self.access.create(&PostParams::default(), &review).await;
        let status = reviewed.map_err(|error| Unanswered(error.to_string()))?.status.unwrap_or_default();
        Ok(status.allowed && status.denied != Some(true))
    }
}

#[async_trait]
impl Reviewer for KubernetesScrapers {
    type Good = ();
    type Bad = Denial;

    async fn review(&self, token: &Secret, path: &str) -> Result<Result<(), Denial>, Unanswered> {
        let Some(user) = self.user(token).await? else {
            tracing::info!(path, "a scraper's token is not known to the Kubernetes API");
            return Ok(Err(Denial::Unknown));
        };
        let name = user.username.clone();
        if self.may_get(user, path).await? {
            return Ok(Ok(()));
        }
        tracing::info!(path, user = name, "a scraper may not read metrics: expected the right to get the path");
        Ok(Err(Denial::Forbidden))
    }
}

impl fmt::Debug for KubernetesScrapers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KubernetesScrapers")
    }
}
