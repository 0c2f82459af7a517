//! The vault under paused time.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use kiam_common::shutdown::Shutdown;
use prometheus::Registry;
use tokio::task::{JoinSet, yield_now};
use tokio::time::{Instant, advance, sleep, timeout};

use super::Vault;
use super::refresh::{Schedule, keep_fresh};
use crate::fixtures::{READER, count, directory, identity, namespace, pod, vault};
use crate::sts::StsErrorKind;

const MINUTE: Duration = Duration::from_mins(1);

async fn key(vault: &Vault, role: &str) -> String {
    vault.get(&identity(role)).await.unwrap().access_key_id.clone()
}

/// Time for tasks that were spawned to run; paused time moves by no more than this.
async fn settle() {
    sleep(Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_thousand_callers_make_one_call_even_if_the_first_hangs_up() {
    let (vault, sts) = vault(&Registry::new());
    sts.answer_after(Duration::from_millis(200));
    let first = vault.get(&identity("reader")).await_for(Duration::from_millis(5)).await;
    assert!(first.is_none(), "the first caller should have hung up");
    let mut callers = JoinSet::new();
    for _ in 0..999 {
        let vault = Arc::clone(&vault);
        callers.spawn(async move { key(&vault, "reader").await });
    }
    let keys: HashSet<String> = callers.join_all().await.into_iter().collect();
    assert_eq!(keys, HashSet::from(["ASIA1".to_owned()]));
    assert_eq!(sts.calls().len(), 1);
}

/// `timeout` with an `Option`.
trait AwaitFor: Future + Sized {
    async fn await_for(self, patience: Duration) -> Option<Self::Output> {
        timeout(patience, self).await.ok()
    }
}

impl<F: Future> AwaitFor for F {}

#[tokio::test(start_paused = true)]
async fn identities_that_differ_in_anything_share_nothing() {
    let (vault, sts) = vault(&Registry::new());
    let reader = identity("reader");
    let mut other_session = (*reader).clone();
    other_session.session_name = kiam_common::role::SessionName::from_text("other");
    let mut with_external_id = (*reader).clone();
    with_external_id.external_id = Some(kiam_common::role::ExternalId::parse("x-1").unwrap());
    let mut keys = HashSet::new();
    for identity in [&reader, &Arc::new(other_session), &Arc::new(with_external_id), &identity("writer")] {
        keys.insert(vault.get(identity).await.unwrap().access_key_id.clone());
        keys.insert(vault.get(identity).await.unwrap().access_key_id.clone());
    }
    assert_eq!((keys.len(), sts.calls().len(), vault.held()), (4, 4, 4));
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_shared_by_all_who_wait_for_it() {
    let (vault, sts) = vault(&Registry::new());
    sts.answer_after(Duration::from_millis(200));
    sts.refuse(READER, "AccessDenied");
    let mut callers = JoinSet::new();
    for _ in 0..500 {
        let vault = Arc::clone(&vault);
        callers.spawn(async move { vault.get(&identity("reader")).await.unwrap_err() });
    }
    for error in callers.join_all().await {
        assert_eq!((error.kind, error.code.as_deref()), (StsErrorKind::Refused, Some("AccessDenied")));
    }
    assert_eq!(sts.calls().len(), 1);
    sts.recover(READER);
    assert_eq!(key(&vault, "reader").await, "ASIA2");
}

#[tokio::test(start_paused = true)]
async fn an_sts_that_never_answers_is_given_up() {
    let (vault, sts) = vault(&Registry::new());
    sts.answer_after(Duration::from_hours(24));
    let start = Instant::now();
    let error = vault.get(&identity("reader")).await.unwrap_err();
    assert_eq!(error.kind, StsErrorKind::Unavailable);
    assert_eq!(start.elapsed().as_secs(), 30);
}

#[tokio::test(start_paused = true)]
async fn credentials_are_renewed_in_the_background_before_they_expire() {
    let (vault, sts) = vault(&Registry::new());
    assert_eq!(key(&vault, "reader").await, "ASIA1");
    advance(26 * MINUTE).await;
    assert_eq!(key(&vault, "reader").await, "ASIA1");
    settle().await;
    assert_eq!(sts.calls().len(), 1, "too early to renew");
    advance(5 * MINUTE).await;
    sts.answer_after(Duration::from_secs(10));
    assert_eq!(key(&vault, "reader").await, "ASIA1", "the old ones are served meanwhile");
    assert_eq!(key(&vault, "reader").await, "ASIA1");
    sleep(Duration::from_secs(11)).await;
    assert_eq!(key(&vault, "reader").await, "ASIA2");
    assert_eq!(sts.calls().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_failed_renewal_keeps_the_old_until_they_expire_and_not_a_second_longer() {
    let (vault, sts) = vault(&Registry::new());
    key(&vault, "reader").await;
    sts.fail(READER);
    for _ in 0..59 {
        advance(MINUTE).await;
        assert_eq!(key(&vault, "reader").await, "ASIA1");
        settle().await;
    }
    let calls = sts.calls().len();
    assert!((3..20).contains(&calls), "{calls} calls while STS was away");
    advance(MINUTE).await;
    assert_eq!(vault.get(&identity("reader")).await.unwrap_err().kind, StsErrorKind::Unavailable);
    assert_eq!(vault.held(), 0);
}

#[tokio::test(start_paused = true)]
async fn credentials_that_arrive_expired_are_an_error() {
    let (vault, sts) = vault(&Registry::new());
    sts.grant(Duration::ZERO);
    let error = vault.get(&identity("reader")).await.unwrap_err();
    assert!(error.message.contains("expired"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn what_a_live_pod_may_have_is_renewed_before_anybody_asks_and_the_rest_let_go() {
    let (vault, sts) = vault(&Registry::new());
    let (directory, shutdown) = (directory(), Shutdown::new());
    directory.apply_namespace(&namespace(".*reader"));
    directory.apply_pod(&pod("a", "10.0.0.1", Some("reader")));
    directory.apply_pod(&pod("b", "10.0.0.2", Some("writer")));
    key(&vault, "reader").await;
    key(&vault, "writer").await;
    tokio::spawn(keep_fresh(Arc::clone(&vault), Arc::clone(&directory), shutdown.clone()));
    sleep(31 * MINUTE).await;
    let renewed: Vec<_> = sts.calls().into_iter().skip(2).map(|identity| identity.arn.to_string()).collect();
    assert_eq!(renewed, [READER], "the namespace does not permit the writer");
    assert_eq!(vault.held(), 1);

    directory.delete_pod("uid-of-a");
    sleep(31 * MINUTE).await;
    assert_eq!((sts.calls().len(), vault.held()), (3, 0));
    shutdown.begin();
}

#[tokio::test(start_paused = true)]
async fn a_role_that_sts_denies_is_tried_less_and_less_often() {
    let (vault, sts) = vault(&Registry::new());
    let (directory, shutdown) = (directory(), Shutdown::new());
    directory.apply_namespace(&namespace(".*"));
    directory.apply_pod(&pod("a", "10.0.0.1", Some("reader")));
    sts.refuse(READER, "AccessDenied");
    vault.get(&identity("reader")).await.unwrap_err();
    tokio::spawn(keep_fresh(Arc::clone(&vault), directory, shutdown.clone()));
    sleep(60 * MINUTE).await;
    let calls = sts.calls().len();
    assert!((10..25).contains(&calls), "{calls} calls in an hour");
    shutdown.begin();
}

#[test]
fn sessions_are_renewed_ahead_by_the_flag_or_at_half_of_a_short_life() {
    let schedule = Schedule::new(30 * MINUTE);
    let now = "2026-11-21T10:00:00Z".parse().unwrap();
    for (expiration, earliest, latest) in [
        ("2026-11-21T11:00:00Z", "2026-11-21T10:27:00Z", "2026-11-21T10:30:00Z"),
        ("2026-11-21T22:00:00Z", "2026-11-21T21:27:00Z", "2026-11-21T21:30:00Z"),
        ("2026-11-21T10:15:00Z", "2026-11-21T10:06:45Z", "2026-11-21T10:07:30Z"),
        ("2026-11-21T10:00:10Z", "2026-11-21T10:00:04.5Z", "2026-11-21T10:00:05Z"),
    ] {
        let renew_at = schedule.renew_at(now, expiration.parse().unwrap());
        assert!((earliest.parse().unwrap()..=latest.parse().unwrap()).contains(&renew_at), "{expiration}: {renew_at}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_series_of_the_contract_count() {
    let registry = Registry::new();
    let (vault, sts) = vault(&registry);
    sts.answer_after(Duration::from_secs(1));
    let waiting = tokio::spawn({
        let vault = Arc::clone(&vault);
        async move { key(&vault, "reader").await }
    });
    yield_now().await;
    settle().await;
    assert_eq!(count(&registry, "kiam_sts_assumerole_current"), 1);
    waiting.await.unwrap();
    key(&vault, "reader").await;
    sts.refuse("arn:aws:iam::123456789012:role/writer", "AccessDenied");
    vault.get(&identity("writer")).await.unwrap_err();
    for (series, value) in [
        ("kiam_sts_assumerole_current", 0),
        ("kiam_sts_cache_hit_total", 1),
        ("kiam_sts_cache_miss_total", 2),
        ("kiam_sts_issuing_errors_total", 1),
        ("kiam_sts_assumerole_timing_seconds_count", 2),
        (r#"kiam_sts_assumerole_timing_seconds_bucket{le="4.096"}"#, 2),
        (r#"kiam_sts_failures_total{kind="refused"}"#, 1),
        (r#"kiam_sts_failures_total{kind="unavailable"}"#, 0),
    ] {
        assert_eq!(count(&registry, series), value, "{series}");
    }
}
