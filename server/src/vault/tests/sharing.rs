//! Who shares what: one call for all who ask, nothing between identities.

use std::collections::HashSet;

use kiam_common::role::{ExternalId, SessionName};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::*;
use crate::fixtures::READER;

#[tokio::test(start_paused = true)]
async fn a_thousand_callers_make_one_call_even_if_the_first_hangs_up() {
    let stand = Stand::new();
    stand.sts.answer_after(Duration::from_millis(200));
    let first = timeout(Duration::from_millis(5), stand.get("reader")).await;
    assert!(first.is_err(), "the first caller should have hung up");
    let mut callers = JoinSet::new();
    for _ in 0..999 {
        let vault = Arc::clone(&stand.vault);
        callers.spawn(async move { vault.get(&identity("reader"), Instant::now() + SECOND).await });
    }
    let keys: HashSet<_> =
        callers.join_all().await.into_iter().map(|got| got.unwrap().credentials.access_key_id.clone()).collect();
    assert_eq!(keys, HashSet::from(["ASIA1".to_owned()]));
    assert_eq!(stand.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_shared_by_all_who_wait_for_it() {
    let stand = Stand::new();
    stand.sts.answer_after(Duration::from_millis(200));
    stand.sts.refuse(READER, "AccessDenied");
    let mut callers = JoinSet::new();
    for _ in 0..500 {
        let vault = Arc::clone(&stand.vault);
        callers.spawn(async move { vault.get(&identity("reader"), Instant::now() + SECOND).await.unwrap_err() });
    }
    for error in callers.join_all().await {
        assert_eq!((error.kind, error.code.as_deref()), (StsErrorKind::Refused, Some("AccessDenied")));
    }
    assert_eq!(stand.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn identities_that_differ_in_anything_share_nothing() {
    let stand = Stand::new();
    let reader = identity("reader");
    let mut other_session = (*reader).clone();
    other_session.session_name = SessionName::from_text("other");
    let mut with_external_id = (*reader).clone();
    with_external_id.external_id = Some(ExternalId::parse("x-1").unwrap());
    let mut keys = HashSet::new();
    for identity in [&reader, &Arc::new(other_session), &Arc::new(with_external_id), &identity("writer")] {
        for _ in 0..2 {
            let issued = stand.vault.get(identity, Instant::now() + SECOND).await.unwrap();
            keys.insert(issued.credentials.access_key_id.clone());
        }
    }
    assert_eq!((keys.len(), stand.calls(), stand.vault.census().held), (4, 4, 4));
}

#[tokio::test(start_paused = true)]
async fn everybody_has_the_same_copy_and_it_is_gone_with_the_last() {
    let stand = Stand::new();
    let (first, second) = (stand.get("reader").await.unwrap(), stand.get("reader").await.unwrap());
    assert!(Arc::ptr_eq(&first, &second));
    let weak = Arc::downgrade(&first);
    drop((first, second));
    assert!(weak.upgrade().is_some());
    // No pod needs them, so they are let go when they are due.
    sleep(31 * MINUTE).await;
    assert!(weak.upgrade().is_none(), "nobody keeps secrets that were let go");
}

#[tokio::test(start_paused = true)]
async fn the_series_of_the_contract_count() {
    let stand = Stand::new();
    stand.sts.answer_after(SECOND);
    let waiting = tokio::spawn({
        let vault = Arc::clone(&stand.vault);
        async move { vault.get(&identity("reader"), Instant::now() + 5 * SECOND).await.unwrap() }
    });
    tokio::task::yield_now().await;
    assert_eq!(stand.count("kiam_sts_assumerole_current"), 1);
    assert_eq!(stand.count(r#"kiam_vault_entries{state="fetching"}"#), 1);
    waiting.await.unwrap();
    stand.key("reader").await;
    stand.sts.refuse("arn:aws:iam::123456789012:role/writer", "AccessDenied");
    stand.error_kind("writer").await;
    for (series, value) in [
        ("kiam_sts_cacheSize", 1),
        ("kiam_sts_assumerole_current", 0),
        ("kiam_sts_cache_hit_total", 1),
        ("kiam_sts_cache_miss_total", 2),
        ("kiam_sts_issuing_errors_total", 1),
        ("kiam_sts_assumerole_timing_seconds_count", 2),
        (r#"kiam_sts_assumerole_timing_seconds_bucket{le="4.096"}"#, 2),
        (r#"kiam_sts_attempts_total{outcome="success"}"#, 1),
        (r#"kiam_sts_attempts_total{outcome="refused"}"#, 1),
        (r#"kiam_sts_attempts_total{outcome="throttled"}"#, 0),
        (r#"kiam_vault_entries{state="fresh"}"#, 1),
        (r#"kiam_vault_entries{state="refused"}"#, 1),
        (r#"kiam_vault_queue_depth{priority="waiting"}"#, 0),
        (r#"kiam_vault_refreshes_total{outcome="success"}"#, 0),
        ("kiam_vault_soonest_expiry_seconds", 3598),
    ] {
        assert_eq!(stand.count(series), value, "{series}");
    }
}
