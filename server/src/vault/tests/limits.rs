//! What STS has to bear, and who goes first.

use tokio::task::JoinSet;

use super::*;
use crate::vault::{Limits, Rank};

fn limited(at_once: usize, per_second: u32) -> Stand {
    Stand::with(&Settings { limits: Limits { at_once, per_second }, ..fixtures::VAULT })
}

#[tokio::test(start_paused = true)]
async fn two_thousand_roles_take_hardly_longer_than_the_limit_makes_them() {
    let stand = limited(63, 1000);
    stand.sts.answer_after(Duration::from_millis(200));
    let start = Instant::now();
    let mut callers = JoinSet::new();
    for caller in 0..3000 {
        let (vault, deadline) = (Arc::clone(&stand.vault), start + MINUTE);
        callers.spawn(async move { vault.get(&identity(&format!("role-{}", caller % 2000)), deadline).await });
    }
    for got in callers.join_all().await {
        got.unwrap();
    }
    let ideal = 2000.0 / 64.0 * 0.2;
    let ratio = start.elapsed().as_secs_f64() / ideal;
    assert_eq!(stand.calls(), 2000);
    assert!(ratio <= 1.2, "{ratio}");
}

#[tokio::test(start_paused = true)]
async fn the_rate_holds_whatever_happens() {
    let stand = limited(1000, 20);
    stand.sts.fail_all(Some(StsErrorKind::Throttled));
    for number in 0..200 {
        stand.add_pod(&format!("pod-{number}"), &format!("role-{number}"));
    }
    for second in 1..=600 {
        if second == 300 {
            stand.sts.fail_all(None);
        }
        sleep(SECOND).await;
        assert!(stand.calls() <= 20 + 20 * second, "{} calls in {second} seconds", stand.calls());
    }
    assert_eq!(stand.vault.census().held, 200);
}

#[tokio::test(start_paused = true)]
async fn pods_that_wait_go_before_those_that_will_and_renewals_go_last() {
    let limits = Limits { at_once: 1, per_second: 10_000 };
    let stand = Stand::with(&Settings { limits, attempt_timeout: 2 * MINUTE, ..fixtures::VAULT });
    stand.sts.grant(12 * MINUTE);
    stand.add_pod("old", "old");
    sleep(5 * MINUTE).await;
    // Takes the only place until the renewal is due, with more than five minutes to go.
    stand.sts.answer_after(70 * SECOND);
    stand.add_pod("first", "first");
    sleep(65 * SECOND).await;
    stand.sts.answer_after(Duration::ZERO);
    stand.add_pod("ahead-1", "ahead-1");
    stand.add_pod("ahead-2", "ahead-2");
    // The first of them takes the place beyond the limit.
    stand.sts.answer_after(10 * SECOND);
    for role in ["waiting-1", "waiting-2"] {
        let vault = Arc::clone(&stand.vault);
        tokio::spawn(async move { vault.get(&identity(role), Instant::now() + MINUTE).await });
    }
    sleep(2 * SECOND).await;
    let census = stand.vault.census();
    assert_eq!(census.queued.map(|(_, queued)| queued), [1, 0, 2, 1]);
    assert_eq!(census.oldest_waiting.unwrap().as_secs(), 2);
    stand.sts.answer_after(Duration::ZERO);
    sleep(20 * SECOND).await;
    assert_eq!(stand.asked(), ["old", "first", "waiting-1", "waiting-2", "ahead-1", "ahead-2", "old"]);
}

#[tokio::test(start_paused = true)]
async fn a_fetch_ahead_moves_forward_when_its_pod_asks() {
    let stand = limited(1, 10_000);
    stand.sts.answer_after(SECOND);
    for role in ["a", "b", "c", "d"] {
        stand.add_pod(role, role);
    }
    settle().await;
    let expected = [(Rank::Waiting, 0), (Rank::Expiring, 0), (Rank::Prefetch, 3), (Rank::Refresh, 0)];
    assert_eq!(stand.vault.census().queued, expected);
    stand.key("d").await;
    sleep(5 * SECOND).await;
    assert_eq!(stand.asked(), ["a", "d", "b", "c"]);
}

#[tokio::test(start_paused = true)]
async fn calls_that_hang_leave_a_place_for_a_pod_that_waits() {
    let stand = limited(4, 10_000);
    stand.sts.answer_after(Duration::from_hours(1));
    for number in 0..10 {
        stand.add_pod(&format!("pod-{number}"), &format!("role-{number}"));
    }
    settle().await;
    assert_eq!(stand.calls(), 4);
    stand.sts.answer_after(Duration::from_millis(100));
    assert_eq!(stand.key("waiting").await, "ASIA5");
}

#[tokio::test(start_paused = true)]
async fn a_full_cache_gives_up_what_was_asked_for_longest_ago() {
    let stand = Stand::with(&Settings { capacity: 10, ..fixtures::VAULT });
    for number in 0..30 {
        stand.key(&format!("role-{number}")).await;
    }
    sleep(2 * SECOND).await;
    assert_eq!(stand.vault.census().held, 10);
    stand.add_pod("a", "ahead");
    settle().await;
    assert_eq!(stand.calls(), 30, "nothing in use makes room for what may be");
    stand.key("role-29").await;
    assert_eq!((stand.calls(), stand.count("kiam_vault_evicted_total")), (30, 20));
}
