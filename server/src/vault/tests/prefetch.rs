//! Credentials ahead of the first request.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_pod_s_credentials_are_there_before_it_has_an_ip() {
    let stand = Stand::new();
    stand.add_pod("a", "reader");
    settle().await;
    assert_eq!(stand.asked(), ["reader"]);
    assert_eq!(stand.key("reader").await, "ASIA1");
    assert_eq!((stand.count("kiam_sts_cache_hit_total"), stand.count("kiam_sts_cache_miss_total")), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn an_annotation_that_policy_does_not_allow_makes_no_call() {
    let stand = Stand::new();
    stand.directory.apply_namespace(&namespace(".*reader"));
    stand.add_pod("a", "admin");
    sleep(10 * MINUTE).await;
    assert_eq!(stand.calls(), 0);
    for demand in stand.directory.apply_namespace(&namespace(".*admin")).demands {
        stand.vault.offer(&demand);
    }
    settle().await;
    assert_eq!(stand.asked(), ["admin"], "the namespace permits it now");
}

#[tokio::test(start_paused = true)]
async fn a_failed_fetch_is_tried_again_by_itself() {
    let stand = Stand::new();
    stand.sts.fail_all(Some(StsErrorKind::Unavailable));
    stand.add_pod("a", "reader");
    sleep(MINUTE).await;
    stand.sts.fail_all(None);
    sleep(15 * SECOND).await;
    assert_eq!(stand.vault.census().held, 1);
    assert_eq!(stand.count("kiam_sts_cache_miss_total"), 0);
}

#[tokio::test(start_paused = true)]
async fn what_does_not_fit_is_counted_and_fetched_later() {
    let limits = super::super::Limits { at_once: 2, per_second: 10_000 };
    let stand = Stand::with(&Settings { prefetch_buffer: 3, limits, ..fixtures::VAULT });
    stand.sts.answer_after(SECOND / 10);
    for number in 0..20 {
        stand.add_pod(&format!("pod-{number}"), &format!("role-{number}"));
        tokio::task::yield_now().await;
    }
    assert_eq!(stand.count("kiam_k8s_dropped_pods_total"), 15);
    sleep(30 * SECOND).await;
    assert_eq!((stand.calls(), stand.vault.census().held), (20, 20));
    assert_eq!(stand.count("kiam_k8s_dropped_pods_total"), 15, "once each, however long they wait");
}

#[tokio::test(start_paused = true)]
async fn the_buffer_holds_for_pods_that_come_in_one_go() {
    let limits = super::super::Limits { at_once: 1, per_second: 10_000 };
    let stand = Stand::with(&Settings { prefetch_buffer: 3, limits, ..fixtures::VAULT });
    stand.sts.answer_after(SECOND);
    for number in 0..20 {
        stand.add_pod(&format!("pod-{number}"), &format!("role-{number}"));
    }
    assert_eq!(stand.count("kiam_k8s_dropped_pods_total"), 16, "one is at STS, and three are in line");
}

#[tokio::test(start_paused = true)]
async fn pods_that_go_while_their_fetch_is_in_line_cost_no_call() {
    let limits = super::super::Limits { at_once: 1, per_second: 10_000 };
    let stand = Stand::with(&Settings { limits, ..fixtures::VAULT });
    stand.sts.answer_after(SECOND);
    for number in 0..5 {
        stand.add_pod(&format!("pod-{number}"), &format!("role-{number}"));
    }
    settle().await;
    for number in 1..4 {
        stand.directory.delete_pod(&format!("uid-of-pod-{number}"));
    }
    sleep(5 * SECOND).await;
    assert_eq!(stand.asked(), ["role-0", "role-4"]);
    assert_eq!(stand.vault.census().held, 2);
}
