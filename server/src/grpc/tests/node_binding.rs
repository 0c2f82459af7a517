//! Agents that are bound to their node by tokens.

use std::sync::Arc;

use kiam_common::clock::Clock;
use kiam_common::reason::{Reason, Refusal};
use kiam_common::testing::CapturedLog;
use kiam_proto::kiam::kiam_service_client::KiamServiceClient;
use kiam_proto::kiam::{GetHealthRequest, GetPodCredentialsRequest, GetPodRoleRequest};
use tonic::{Code, Request, Status};

use super::{NO_LIMITS, Stand};
use crate::directory::pods::PodFields;
use crate::fixtures::{namespace, pod};
use crate::node_binding::Mode;
use crate::node_binding::fake::FakeReviews;
use crate::node_binding::review::Review;
use crate::node_binding::tokens::Tokens;

/// Two nodes with a pod each; the agents' tokens are `token-of-east` and `token-of-west`.
pub(super) async fn two_nodes() -> Stand {
    let reviews = Arc::new(FakeReviews::default());
    for node in ["east", "west"] {
        let review = Review::Authentic { node: Some(node.into()), audiences: vec!["kiam-server".into()] };
        reviews.set(&format!("token-of-{node}"), review);
    }
    let stand = Stand::bound(NO_LIMITS, |metrics| {
        Mode::Token(Tokens::new(reviews, "kiam-server".into(), Clock::system(), metrics.reviews.clone()))
    });
    let stand = stand.await;
    stand.directory.apply_namespace(&namespace(".*"));
    for (node, ip) in [("east", "10.0.0.1"), ("west", "10.0.0.2")] {
        stand.directory.apply_pod(&PodFields { node: Some(node.into()), ..pod(node, ip, Some("reader")) });
    }
    stand
}

impl Stand {
    async fn role_by(&self, token: Option<&str>, ip: &str) -> Result<String, Status> {
        let request = bearing(token, GetPodRoleRequest { ip: ip.into() });
        let role = KiamServiceClient::new(self.channel.clone()).get_pod_role(request).await?;
        Ok(role.into_inner().name)
    }

    async fn credentials_by(&self, token: Option<&str>, ip: &str) -> Result<String, Status> {
        let request = bearing(token, GetPodCredentialsRequest { ip: ip.into(), role: "reader".into() });
        let credentials = KiamServiceClient::new(self.channel.clone()).get_pod_credentials(request).await?;
        Ok(credentials.into_inner().access_key_id)
    }
}

pub(super) fn bearing<M>(token: Option<&str>, message: M) -> Request<M> {
    let mut request = Request::new(message);
    if let Some(token) = token {
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    }
    request
}

#[tokio::test(start_paused = true)]
async fn an_agent_gets_the_pods_of_its_own_node() {
    let stand = two_nodes().await;
    for (token, ip) in [("token-of-east", "10.0.0.1"), ("token-of-west", "10.0.0.2")] {
        assert_eq!(stand.role_by(Some(token), ip).await.unwrap(), "reader");
        assert_eq!(stand.credentials_by(Some(token), ip).await.unwrap(), "ASIA1");
    }
}

#[tokio::test(start_paused = true)]
async fn another_nodes_pod_is_refused_without_a_word_about_it() {
    let (log, stand) = (CapturedLog::start(), two_nodes().await);
    let token = Some("token-of-east");
    let refusals = [
        stand.role_by(token, "10.0.0.2").await.unwrap_err(),
        stand.credentials_by(token, "10.0.0.2").await.unwrap_err(),
    ];
    for status in refusals {
        assert_eq!(status.code(), Code::PermissionDenied);
        let refusal = Refusal::from_status(&status);
        assert_eq!(refusal.reason, Reason::WrongNode);
        assert!(!refusal.message.contains("reader") && !refusal.message.contains("west"), "{}", refusal.message);
    }
    assert!(stand.sts.calls().is_empty());
    assert_eq!(stand.count(r#"kiam_node_binding_refusals_total{reason="wrong_node"}"#), 2);
    assert_eq!(stand.count(r#"kiam_requests_refused_total{reason="WrongNode"}"#), 2);
    let log = log.text();
    assert!(log.contains("east") && log.contains("west") && !log.contains("token-of"), "{log}");
}

#[tokio::test(start_paused = true)]
async fn an_agent_without_a_good_token_gets_nothing_but_health() {
    let stand = two_nodes().await;
    for token in [None, Some("forged")] {
        for status in [
            stand.role_by(token, "10.0.0.1").await.unwrap_err(),
            stand.credentials_by(token, "10.0.0.1").await.unwrap_err(),
        ] {
            assert_eq!(
                (status.code(), Refusal::from_status(&status).reason),
                (Code::Unauthenticated, Reason::AgentRefused)
            );
        }
    }
    assert_eq!(stand.count(r#"kiam_requests_refused_total{reason="AgentRefused"}"#), 4);
    let health = KiamServiceClient::new(stand.channel.clone()).get_health(GetHealthRequest {}).await.unwrap();
    assert_eq!(health.into_inner().message, "ok");
}
