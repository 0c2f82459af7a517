//! Renewal ahead of the end, whoever asks or does not.

use jiff::SignedDuration;
use tokio::time::advance;

use super::*;

#[tokio::test(start_paused = true)]
async fn credentials_are_renewed_in_the_background_and_the_old_are_served_meanwhile() {
    let stand = Stand::new();
    stand.add_pod("a", "reader");
    assert_eq!(stand.key("reader").await, "ASIA1");
    sleep(26 * MINUTE).await;
    assert_eq!(stand.calls(), 1, "too early to renew");
    stand.sts.answer_after(3 * SECOND);
    while stand.calls() < 2 {
        sleep(SECOND / 10).await;
    }
    assert_eq!(stand.key("reader").await, "ASIA1", "the old ones are served meanwhile");
    assert_eq!(stand.count(r#"kiam_vault_entries{state="refreshing"}"#), 1);
    sleep(4 * SECOND).await;
    assert_eq!(stand.key("reader").await, "ASIA2");
    assert_eq!(stand.count(r#"kiam_vault_refreshes_total{outcome="success"}"#), 1);
}

#[tokio::test(start_paused = true)]
async fn a_pod_never_sees_less_than_25_minutes_of_life_at_the_defaults() {
    let stand =
        Stand::with(&Settings { limits: super::super::Limits { at_once: 8, per_second: 100 }, ..fixtures::VAULT });
    for number in 0..100 {
        stand.add_pod(&format!("pod-{number}"), &format!("role-{number}"));
    }
    sleep(MINUTE).await;
    stand.sts.answer_after(Duration::from_millis(200));
    for _ in 0..150 {
        sleep(MINUTE).await;
        assert!(stand.vault.census().soonest_end.unwrap() >= 25 * MINUTE, "{:?}", stand.vault.census());
    }
    assert_eq!(stand.vault.census().held, 100);
}

#[tokio::test(start_paused = true)]
async fn roles_that_were_fetched_together_are_not_renewed_together() {
    let stand = Stand::new();
    for number in 0..300 {
        stand.add_pod(&format!("pod-{number}"), &format!("role-{number}"));
    }
    settle().await;
    assert_eq!(stand.calls(), 300);
    let mut most = 0;
    for _ in 0..31 * 60 {
        let before = stand.calls();
        sleep(SECOND).await;
        most = most.max(stand.calls() - before);
    }
    assert_eq!(stand.calls(), 600);
    assert!(most < 15, "{most} in one second");
}

#[tokio::test(start_paused = true)]
async fn sessions_of_ten_seconds_are_renewed_like_long_ones() {
    let stand = Stand::new();
    stand.sts.grant(10 * SECOND);
    stand.add_pod("a", "reader");
    for _ in 0..600 {
        sleep(SECOND / 10).await;
        stand.key("reader").await;
    }
    assert!((10..=13).contains(&stand.calls()), "{} calls in a minute", stand.calls());
    assert!(stand.vault.census().soonest_end.unwrap() >= 3 * SECOND);
    assert_eq!(stand.count("kiam_sts_cache_miss_total"), 0);
}

#[tokio::test(start_paused = true)]
async fn what_no_live_pod_may_have_is_let_go_and_not_renewed() {
    let stand = Stand::new();
    stand.directory.apply_namespace(&namespace(".*reader"));
    stand.add_pod("a", "reader");
    stand.add_pod("b", "writer");
    stand.key("reader").await;
    stand.key("writer").await;
    sleep(31 * MINUTE).await;
    assert_eq!(stand.asked(), ["reader", "writer", "reader"], "the namespace does not permit the writer");
    stand.directory.delete_pod("uid-of-a");
    sleep(40 * MINUTE).await;
    assert_eq!((stand.calls(), stand.vault.census().held), (3, 0));
    let stages = stand.vault.census().stages;
    assert!(stages.iter().all(|(_, count)| *count == 0), "{stages:?}");
}

#[tokio::test(start_paused = true)]
async fn the_clock_of_sts_may_be_wrong_and_may_be_set_at_any_time() {
    let stand = Stand::new();
    stand.add_pod("a", "reader");
    for ahead in [0, 3600, -3600, 0, -3600, 3600] {
        stand.sts.set_clock_ahead(SignedDuration::from_secs(ahead));
        for _ in 0..30 {
            sleep(MINUTE).await;
            stand.key("reader").await;
            assert!(stand.vault.census().soonest_end.unwrap() >= 25 * MINUTE);
        }
    }
    let calls = stand.calls();
    assert!((6..=8).contains(&calls), "{calls} calls in three hours");
    assert_eq!(stand.count("kiam_sts_issuing_errors_total"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_vault_that_was_not_looked_after_serves_nothing_that_has_expired() {
    let stand = Stand::new();
    assert_eq!(stand.key("reader").await, "ASIA1");
    stand.sts.fail_all(Some(StsErrorKind::Unavailable));
    // As if the whole process had not run for an hour.
    advance(60 * MINUTE).await;
    assert_eq!(stand.error_kind("reader").await, StsErrorKind::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn a_role_with_a_lower_maximum_is_asked_for_an_hour_and_stays_with_it() {
    let stand = Stand::with(&Settings { session_duration: Duration::from_hours(12), ..fixtures::VAULT });
    stand.sts.give_at_most(Duration::from_hours(1));
    stand.add_pod("a", "reader");
    assert_eq!(stand.key("reader").await, "ASIA2");
    sleep(40 * MINUTE).await;
    let hours: Vec<_> = stand.sts.durations().iter().map(|duration| duration.as_secs() / 3600).collect();
    assert_eq!(hours, [12, 1, 1]);
    assert_eq!(stand.count(r#"kiam_sts_attempts_total{outcome="too_long"}"#), 1);
    assert_eq!(stand.count("kiam_sts_issuing_errors_total"), 0);
}
