//! Agents bound by tokens under paused time, with a fake Kubernetes API; by address; and not at all.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::future::join_all;
use kiam_common::clock::Clock;
use kiam_common::registry::Registry;
use kiam_common::testing::CapturedLog;
use tokio::time::sleep;

use super::fake::FakeReviews;
use super::review::Review;
use super::*;
use crate::directory::pods::PodFields;
use crate::fixtures::{count, directory, pod};

const AUDIENCE: &str = "kiam-server";

/// A binding by tokens.
struct Stand {
    reviews: Arc<FakeReviews>,
    binding: Arc<NodeBinding>,
    registry: Registry,
}

impl Stand {
    fn new() -> Self {
        let (registry, reviews) = (Registry::new(), Arc::new(FakeReviews::default()));
        let metrics = BindingMetrics::new(&registry).unwrap();
        let clock = Clock::starting_at("2026-11-21T10:00:00Z".parse().unwrap());
        let tokens = Tokens::new(Arc::clone(&reviews) as _, AUDIENCE.into(), clock, metrics.reviews.clone());
        let binding = Arc::new(NodeBinding::new(Mode::Token(tokens), directory(), metrics));
        Self { reviews, binding, registry }
    }

    /// With a token of node `a` that lives an hour.
    fn with_token() -> (Self, String) {
        let (stand, token) = (Self::new(), token("one", "2026-11-21T11:00:00Z"));
        stand.reviews.set(&token, of_node("a"));
        (stand, token)
    }

    /// The node of a token, or the name of the refusal.
    async fn node_of(&self, token: &str) -> Result<String, BindingError> {
        let caller = self.binding.caller(Evidence { token: Some(Token(token)), ..NOTHING }).await?;
        Ok(caller.to_string())
    }

    fn count(&self, series: &str) -> i64 {
        count(&self.registry, series)
    }
}

const NOTHING: Evidence<'static> = Evidence { token: None, address: None, program: "" };

fn token(name: &str, end: &str) -> String {
    let end: jiff::Timestamp = end.parse().unwrap();
    let claims = format!(r#"{{"jti":"{name}","exp":{}}}"#, end.as_second());
    format!("e30.{}.c2lnbmF0dXJl", URL_SAFE_NO_PAD.encode(claims))
}

fn of_node(node: &str) -> Review {
    Review::Authentic { node: Some(node.into()), audiences: vec![AUDIENCE.into()] }
}

fn address(text: &str) -> Evidence<'static> {
    Evidence { address: Some(text.parse().unwrap()), ..NOTHING }
}

#[tokio::test(start_paused = true)]
async fn a_token_is_asked_about_once_and_again_before_what_was_said_is_old() {
    let (stand, token) = Stand::with_token();
    for (after, asked) in [(0, 1), (0, 1), (239, 1), (2, 2), (239, 2), (2, 3)] {
        sleep(Duration::from_secs(after)).await;
        assert_eq!(stand.node_of(&token).await.unwrap(), "a");
        sleep(Duration::from_millis(1)).await;
        assert_eq!(stand.reviews.asked(), asked);
    }
    assert_eq!(stand.count(r#"kiam_token_reviews_total{outcome="accepted"}"#), 3);
}

#[tokio::test(start_paused = true)]
async fn everyone_who_brings_a_new_token_shares_one_review() {
    let (stand, token) = Stand::with_token();
    stand.reviews.answer_after(Duration::from_secs(1));
    let hangs_up = tokio::time::timeout(Duration::from_millis(500), stand.node_of(&token)).await;
    assert!(hangs_up.is_err());
    let nodes = join_all((0..100).map(|_| stand.node_of(&token))).await;
    assert!(nodes.iter().all(|node| node.as_deref() == Ok("a")));
    assert_eq!(stand.reviews.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_token_is_not_used_beyond_its_own_end() {
    let (stand, _) = Stand::with_token();
    let short = token("short", "2026-11-21T10:01:00Z");
    stand.reviews.set(&short, of_node("a"));
    assert!(stand.node_of(&short).await.is_ok());
    sleep(Duration::from_secs(54)).await;
    stand.reviews.fail(true);
    assert!(stand.node_of(&short).await.is_ok());
    sleep(Duration::from_secs(2)).await;
    assert_eq!(stand.node_of(&short).await, Err(BindingError::Unreviewed));
}

#[tokio::test(start_paused = true)]
async fn the_token_of_a_pod_that_has_gone_is_refused_within_five_minutes() {
    let (stand, token) = Stand::with_token();
    assert!(stand.node_of(&token).await.is_ok());
    stand.reviews.revoke(&token);
    sleep(Duration::from_secs(299)).await;
    assert!(stand.node_of(&token).await.is_ok(), "asked about again meanwhile");
    sleep(Duration::from_millis(1)).await;
    assert_eq!(stand.node_of(&token).await, Err(BindingError::TokenRefused));
    stand.reviews.set(&token, of_node("a"));
    sleep(Duration::from_secs(6)).await;
    assert!(stand.node_of(&token).await.is_ok(), "refusals are forgotten");
    stand.reviews.revoke(&token);
    sleep(Duration::from_secs(301)).await;
    assert_eq!(stand.node_of(&token).await, Err(BindingError::TokenRefused), "what is old is not used first");
}

#[tokio::test(start_paused = true)]
async fn while_the_api_is_away_known_tokens_go_on_and_new_ones_are_told_to_ask_later() {
    let (stand, known) = Stand::with_token();
    assert!(stand.node_of(&known).await.is_ok());
    stand.reviews.fail(true);
    for minute in 0..50 {
        sleep(Duration::from_mins(1)).await;
        assert!(stand.node_of(&known).await.is_ok(), "minute {minute}");
    }
    let new = token("two", "2026-11-21T12:00:00Z");
    stand.reviews.set(&new, of_node("b"));
    let refused = stand.node_of(&new).await.unwrap_err();
    assert_eq!((refused, refused.reason()), (BindingError::Unreviewed, Reason::ServerNotReady));
    stand.reviews.fail(false);
    assert_eq!(stand.node_of(&new).await.unwrap(), "b", "a failure is not remembered");
}

#[tokio::test(start_paused = true)]
async fn an_api_that_hangs_delays_nobody_who_is_known_and_others_by_two_seconds() {
    let (stand, known) = Stand::with_token();
    assert!(stand.node_of(&known).await.is_ok());
    stand.reviews.answer_after(Duration::from_hours(1));
    for _ in 0..30 {
        let before = tokio::time::Instant::now();
        assert!(stand.node_of(&known).await.is_ok());
        assert_eq!(before.elapsed(), Duration::ZERO);
        sleep(Duration::from_secs(55)).await;
    }
    let before = tokio::time::Instant::now();
    assert_eq!(stand.node_of("new").await, Err(BindingError::Unreviewed));
    assert_eq!(before.elapsed().as_secs(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_forged_tokens_reaches_the_api_a_few_at_a_time_and_displaces_nobody() {
    let (stand, known) = Stand::with_token();
    assert!(stand.node_of(&known).await.is_ok());
    stand.reviews.answer_after(Duration::from_millis(100));
    let forged: Vec<String> = (0..5000).map(|n| format!("forged-{n}")).collect();
    let refusals = join_all(forged.iter().map(|token| stand.node_of(token))).await;
    assert!(refusals.iter().all(Result::is_err));
    assert_eq!(stand.reviews.most_at_once(), 8);
    assert!(stand.reviews.asked() < 100, "{}", stand.reviews.asked());
    let asked = stand.reviews.asked();
    assert!(stand.node_of(&known).await.is_ok());
    assert_eq!(stand.node_of(&forged[0]).await, Err(BindingError::TokenRefused));
    assert_eq!(stand.reviews.asked(), asked, "both are remembered");
}

#[tokio::test(start_paused = true)]
async fn each_token_that_is_of_no_use_has_its_refusal() {
    let (stand, _) = Stand::with_token();
    let authentic = |node: Option<&str>, audience: &str| Review::Authentic {
        node: node.map(Into::into),
        audiences: vec![audience.into()],
    };
    stand.reviews.set("of-others", authentic(Some("a"), "https://kubernetes.default.svc"));
    stand.reviews.set("of-no-pod", authentic(None, AUDIENCE));
    stand.reviews.set("of-nowhere", authentic(Some(""), AUDIENCE));
    for (token, error) in [
        ("forged", BindingError::TokenRefused),
        ("of-others", BindingError::TokenRefused),
        ("of-no-pod", BindingError::NotOfNode),
        ("of-nowhere", BindingError::NotOfNode),
        (&*"x".repeat(100_000), BindingError::TokenRefused),
    ] {
        assert_eq!(stand.node_of(token).await, Err(error), "{}", &token[..5]);
        assert_eq!(error.reason(), Reason::AgentRefused);
    }
    assert_eq!(stand.reviews.asked(), 4, "what is too long is not looked at");
    assert_eq!(stand.binding.caller(NOTHING).await, Err(BindingError::NoToken));
    assert_eq!(stand.count(r#"kiam_node_binding_refusals_total{reason="not_of_node"}"#), 2);
    assert_eq!(stand.count(r#"kiam_node_binding_refusals_total{reason="token_refused"}"#), 3);
    assert_eq!(stand.count(r#"kiam_node_binding_refusals_total{reason="no_token"}"#), 1);
}

#[tokio::test(start_paused = true)]
async fn an_agent_is_admitted_to_its_own_node_and_no_other() {
    let (stand, token) = Stand::with_token();
    stand.reviews.set(&token, of_node("east-1"));
    let log = CapturedLog::start();
    let evidence = Evidence { token: Some(Token(&token)), ..NOTHING };
    assert_eq!(stand.binding.admit(evidence, "east-1").await, Ok(()));
    assert_eq!(stand.binding.admit(evidence, "west-2").await, Err(BindingError::WrongNode));
    assert_eq!(stand.count(r#"kiam_node_binding_refusals_total{reason="wrong_node"}"#), 1);
    assert!(log.text().contains("east-1") && log.text().contains("west-2"), "{}", log.text());
    assert!(!log.text().contains(&token) && !format!("{:?}", stand.binding).contains(&token));
}

#[tokio::test]
async fn an_address_is_that_of_the_nodes_whose_pods_say_so() {
    let (registry, directory) = (Registry::new(), directory());
    let binding = NodeBinding::new(Mode::PeerIp, Arc::clone(&directory), BindingMetrics::new(&registry).unwrap());
    let on_host = |name: &str, node: &str, host: &str| PodFields {
        node: Some(node.into()),
        host_network: true,
        host_ips: vec![host.parse().unwrap()],
        ..pod(name, host, None)
    };
    directory.apply_pod(&on_host("agent-a", "a", "10.1.0.1"));
    directory.apply_pod(&on_host("agent-b", "b", "fd00::2"));
    for (from, node, admitted) in [
        ("10.1.0.1", "a", Ok(())),
        ("::ffff:10.1.0.1", "a", Ok(())),
        ("10.1.0.1", "b", Err(BindingError::WrongNode)),
        ("fd00::2", "b", Ok(())),
        ("10.1.0.9", "a", Err(BindingError::WrongNode)),
    ] {
        assert_eq!(binding.admit(address(from), node).await, admitted, "{from} {node}");
    }
    assert_eq!(binding.caller(NOTHING).await, Err(BindingError::NoAddress));
}

#[tokio::test]
async fn agents_that_nothing_binds_are_counted_and_each_program_is_named_once() {
    let (registry, log) = (Registry::new(), CapturedLog::start());
    let metrics = BindingMetrics::new(&registry).unwrap();
    let binding = NodeBinding::new(Mode::Off(Unbound::new(metrics.clone())), directory(), metrics);
    for program in ["grpc-go/1.25.1", "tonic/0.14.9", "grpc-go/1.25.1"] {
        assert_eq!(binding.admit(Evidence { program, ..address("10.1.0.1") }, "any").await, Ok(()));
    }
    for program in 0..1000 {
        binding.caller(Evidence { program: &program.to_string(), ..NOTHING }).await.unwrap();
    }
    assert_eq!(count(&registry, "kiam_node_unbound_calls_total"), 1003);
    assert_eq!(log.text().matches("--node-binding is off").count(), 16, "{}", log.text());
    assert_eq!(log.text().matches("grpc-go/1.25.1").count(), 1);
}
