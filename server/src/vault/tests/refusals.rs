//! What the vault remembers of roles that STS refuses.

use super::*;
use crate::fixtures::READER;

#[tokio::test(start_paused = true)]
async fn a_hot_loop_in_a_pod_is_no_storm_at_sts() {
    let stand = Stand::new();
    stand.add_pod("a", "reader");
    stand.sts.refuse(READER, "AccessDenied");
    for _ in 0..36_000 {
        sleep(Duration::from_millis(100)).await;
        assert_eq!(stand.get("reader").await.unwrap_err().code.as_deref(), Some("AccessDenied"));
    }
    let calls = stand.calls();
    assert!((60..=66).contains(&calls), "{calls} calls in an hour");
    stand.sts.recover(READER);
    sleep(MINUTE).await;
    stand.key("reader").await;
}

#[tokio::test(start_paused = true)]
async fn a_refused_role_that_nobody_asks_for_is_left_alone() {
    let stand = Stand::new();
    stand.add_pod("a", "reader");
    stand.sts.refuse(READER, "AccessDenied");
    sleep(60 * MINUTE).await;
    assert_eq!(stand.calls(), 1);
    assert_eq!(stand.count(r#"kiam_vault_entries{state="refused"}"#), 1);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_forgotten_at_once_when_the_namespace_changes() {
    let stand = Stand::new();
    stand.add_pod("a", "reader");
    stand.sts.refuse(READER, "AccessDenied");
    stand.error_kind("reader").await;
    stand.sts.recover(READER);
    for demand in stand.directory.apply_namespace(&namespace(".*reader")).demands {
        stand.vault.offer(&demand);
    }
    assert_eq!(stand.key("reader").await, "ASIA2");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_forgotten_at_once_when_the_annotation_changes_and_not_when_another_pod_comes() {
    let stand = Stand::new();
    stand.add_pod("a", "reader");
    stand.sts.refuse(READER, "AccessDenied");
    stand.error_kind("reader").await;
    stand.sts.recover(READER);
    stand.add_pod("b", "reader");
    assert_eq!(stand.error_kind("reader").await, StsErrorKind::Refused);
    stand.add_pod("a", "writer");
    stand.add_pod("a", "reader");
    assert_eq!(stand.key("reader").await, "ASIA2");
}

#[tokio::test(start_paused = true)]
async fn the_server_s_own_trouble_is_told_apart_and_ends_soon_after_it_is_over() {
    let stand = Stand::new();
    stand.sts.fail_all(Some(StsErrorKind::OwnCredentials));
    stand.add_pod("a", "reader");
    for _ in 0..600 {
        sleep(SECOND / 10).await;
        assert_eq!(stand.error_kind("reader").await, StsErrorKind::OwnCredentials);
    }
    assert!((8..=12).contains(&stand.calls()), "{} calls in a minute", stand.calls());
    assert_eq!(stand.count(r#"kiam_vault_entries{state="failed"}"#), 1);
    stand.sts.fail_all(None);
    sleep(12 * SECOND).await;
    stand.key("reader").await;
}
