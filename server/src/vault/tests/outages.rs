//! STS failing, hanging and throttling, for a while or for good.

use std::collections::HashSet;

use fastrand::Rng;

use super::*;

const WAYS: [StsErrorKind; 3] = [StsErrorKind::Unavailable, StsErrorKind::Throttled, StsErrorKind::OwnCredentials];

/// An hour in which STS fails in 29 minutes, chosen by the seed; the least life that a pod saw.
async fn an_hour_of_trouble(seed: u64) -> Duration {
    let mut rng = Rng::with_seed(seed);
    let stand = Stand::new();
    for number in 0..5 {
        stand.add_pod(&format!("pod-{number}"), &format!("role-{number}"));
    }
    // The entries are at any point of their lives when the trouble begins.
    sleep(Duration::from_secs(rng.u64(60..1900))).await;
    let failing: HashSet<usize> = rng.choose_multiple(0..60, 29).into_iter().collect();
    let mut least = Duration::MAX;
    for minute in 0..60 {
        stand.sts.fail_all(failing.contains(&minute).then(|| *rng.choice(&WAYS).unwrap()));
        for _ in 0..3 {
            sleep(20 * SECOND).await;
            for number in 0..5 {
                let got = stand.get(&format!("role-{number}")).await;
                assert!(got.is_ok(), "seed {seed}, minute {minute}: {got:?}");
            }
            least = least.min(stand.vault.census().soonest_end.unwrap());
        }
    }
    least
}

#[tokio::test(start_paused = true)]
async fn nobody_notices_an_hour_in_which_sts_fails_in_29_minutes_at_random() {
    let mut least = Duration::MAX;
    for seed in 0..8 {
        least = least.min(an_hour_of_trouble(seed).await);
    }
    println!("seeds 0 to 7: the least life that a pod saw was {least:?}");
    assert!(least > 5 * MINUTE, "{least:?}");
}

#[tokio::test(start_paused = true)]
async fn nobody_notices_29_minutes_without_sts_that_begin_when_everything_is_due() {
    let stand = Stand::new();
    for number in 0..100 {
        stand.add_pod(&format!("pod-{number}"), &format!("role-{number}"));
    }
    sleep(29 * MINUTE + 59 * SECOND).await;
    stand.sts.fail_all(Some(StsErrorKind::Unavailable));
    // Those that were due before live again; the rest live on for half an hour.
    for _ in 0..29 {
        sleep(MINUTE).await;
        for number in 0..100 {
            stand.key(&format!("role-{number}")).await;
        }
    }
    stand.sts.fail_all(None);
    sleep(MINUTE).await;
    println!("29 minutes without STS: {:?} left", stand.vault.census().soonest_end.unwrap());
    assert_eq!(stand.vault.census().held, 100);
    assert_eq!(stand.count("kiam_sts_cache_miss_total"), 0);
}

#[tokio::test(start_paused = true)]
async fn sts_down_past_the_end_is_a_clear_error_and_never_expired_credentials() {
    let stand = Stand::new();
    stand.add_pod("a", "reader");
    stand.key("reader").await;
    stand.sts.fail_all(Some(StsErrorKind::Unavailable));
    for minute in 1..60 {
        sleep(MINUTE).await;
        assert_eq!(stand.key("reader").await, "ASIA1", "after {minute} minutes");
    }
    sleep(MINUTE).await;
    let error = stand.get("reader").await.unwrap_err();
    assert_eq!(error.kind, StsErrorKind::Unavailable);
    assert!(error.to_string().contains("as the test says"), "{error}");
    assert_eq!(stand.vault.census().held, 0);
    assert_eq!(
        stand.count(r#"kiam_vault_entries{state="expired"}"#) + stand.count(r#"kiam_vault_entries{state="fetching"}"#),
        1
    );
    stand.sts.fail_all(None);
    sleep(13 * SECOND).await;
    assert_eq!(stand.count(r#"kiam_vault_entries{state="fresh"}"#), 1, "it comes back by itself");
}

#[tokio::test(start_paused = true)]
async fn a_caller_is_told_in_time_that_sts_has_not_answered_and_the_call_goes_on() {
    let stand = Stand::new();
    stand.sts.answer_after(3 * SECOND);
    let start = Instant::now();
    let error = stand.vault.get(&identity("reader"), start + SECOND).await.unwrap_err();
    assert_eq!((error.kind, start.elapsed()), (StsErrorKind::Unavailable, SECOND));
    assert!(error.message.contains("not answered yet"), "{error}");
    assert_eq!(stand.key("reader").await, "ASIA1");
    assert_eq!(stand.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_sts_that_never_answers_is_asked_three_times_for_who_waits() {
    let stand = Stand::new();
    stand.sts.answer_after(Duration::from_hours(24));
    let start = Instant::now();
    let error = stand.vault.get(&identity("reader"), start + MINUTE).await.unwrap_err();
    assert!(error.message.contains("no answer within 4s"), "{error}");
    assert!((12..=14).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    assert_eq!(stand.calls(), 3);
    assert_eq!(stand.count(r#"kiam_sts_attempts_total{outcome="unavailable"}"#), 3);
}

#[tokio::test(start_paused = true)]
async fn throttling_is_not_amplified() {
    let stand = Stand::new();
    stand.sts.fail_all(Some(StsErrorKind::Throttled));
    for number in 0..50 {
        stand.add_pod(&format!("pod-{number}"), &format!("role-{number}"));
    }
    sleep(10 * MINUTE).await;
    // One attempt, one second, two, four, eight, then every ten seconds.
    let calls = stand.calls() / 50;
    assert!((55..=70).contains(&calls), "{calls} calls for each role in ten minutes");
}

#[tokio::test(start_paused = true)]
async fn credentials_that_arrive_expired_are_an_error() {
    let stand = Stand::new();
    stand.sts.grant(Duration::ZERO);
    let error = stand.get("reader").await.unwrap_err();
    assert!(error.message.contains("expired"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn sts_is_reachable_for_as_long_as_it_answers_whatever_it_says() {
    let stand = Stand::new();
    assert_eq!(stand.count("kiam_sts_reachable"), 1, "nobody has asked");
    for (number, (kind, wanted)) in [
        (StsErrorKind::Unavailable, 0),
        (StsErrorKind::Refused, 1),
        (StsErrorKind::OwnCredentials, 1),
        (StsErrorKind::Throttled, 1),
    ]
    .into_iter()
    .enumerate()
    {
        stand.sts.fail_all(Some(kind));
        stand.error_kind(&format!("role-{number}")).await;
        assert_eq!(stand.count("kiam_sts_reachable"), wanted, "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn waiting_in_the_vault_and_in_line_is_counted_and_what_is_held_is_not_waited_for() {
    let stand = Stand::new();
    for _ in 0..3 {
        stand.key("reader").await;
    }
    assert_eq!((stand.count("kiam_vault_wait_seconds_count"), stand.count("kiam_vault_queue_seconds_count")), (1, 1));
}
