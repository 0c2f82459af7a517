//! What an agent is told.

use std::time::Duration;

use kiam_common::testing::CapturedLog;
use kiam_proto::node::Grant;
use kiam_proto::node::bind::Decision;
use kiam_proto::node::server_message::Message;
use tokio::time::sleep;

use super::super::Stand;
use super::{all, told};
use crate::directory::pods::PodFields;
use crate::fixtures::{READER, namespace, pod};

#[tokio::test(start_paused = true)]
async fn the_snapshot_has_the_nodes_own_pods_and_the_credentials_that_they_refer_to() {
    let stand = Stand::with_reader().await;
    let mut elsewhere = pod("elsewhere", "10.0.1.1", Some("reader"));
    elsewhere.node = Some("node-2".into());
    stand.directory.apply_pod(&elsewhere);
    stand.credentials("10.0.0.1", "reader").await.unwrap();
    let mut agent = stand.sync("node-1").await.unwrap();
    let messages = agent.snapshot().await;
    assert_eq!(all(&messages), ["welcome node-1", "bind 10.0.0.1 a reader 1", "grant 1 ASIA1"]);
    let Message::Grant(Grant { credentials: Some(credentials), life_ms, .. }) = &messages[2] else { panic!() };
    assert_eq!(credentials.secret_access_key, "secret-access-key-1");
    assert!((3_599_000..=3_600_000).contains(life_ms), "{life_ms}");
    assert_eq!((credentials.token.as_str(), credentials.account_id.as_str()), ("session-token-1", "123456789012"));
    let Message::Bind(bind) = &messages[1] else { panic!() };
    let Some(Decision::Role(role)) = &bind.decision else { panic!() };
    assert_eq!(role.arn, READER);
}

#[tokio::test(start_paused = true)]
async fn a_new_pod_is_told_of_with_its_credentials_as_soon_as_there_are_any() {
    let stand = Stand::with_reader().await;
    stand.sts.answer_after(Duration::from_millis(200));
    let mut agent = stand.synced().await;
    assert_eq!(all(&agent.news().await), ["grant 1 ASIA1"], "the snapshot asked for them");
    stand.pass_on(&stand.directory.apply_pod(&pod("b", "10.0.0.2", Some("reader"))));
    assert_eq!(all(&agent.news().await), ["bind 10.0.0.2 b reader 1"]);
}

#[tokio::test(start_paused = true)]
async fn a_new_rule_of_the_namespace_takes_the_role_away() {
    let stand = Stand::with_reader().await;
    let mut agent = stand.synced().await;
    assert_eq!(all(&agent.news().await), ["grant 1 ASIA1"]);
    stand.pass_on(&stand.directory.apply_namespace(&namespace("nothing")));
    assert_eq!(all(&agent.news().await), ["bind 10.0.0.1 a Forbidden", "revoke 1"]);
    stand.pass_on(&stand.directory.delete_namespace("team"));
    assert_eq!(all(&agent.news().await), ["unbind 10.0.0.1"]);
}

#[tokio::test(start_paused = true)]
async fn what_happens_on_other_nodes_is_nobodys_business() {
    let stand = Stand::with_reader().await;
    let mut agent = stand.synced().await;
    agent.news().await;
    let elsewhere = PodFields { node: Some("node-2".into()), ..pod("b", "10.0.1.1", Some("reader")) };
    stand.pass_on(&stand.directory.apply_pod(&elsewhere));
    stand.pass_on(&stand.directory.delete_pod("uid-of-b"));
    assert!(agent.news().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_address_that_another_nodes_pod_gets_too_is_refused_at_once() {
    let stand = Stand::with_reader().await;
    let mut agent = stand.synced().await;
    agent.news().await;
    let elsewhere = PodFields { node: Some("node-2".into()), ..pod("b", "10.0.0.1", Some("reader")) };
    stand.pass_on(&stand.directory.apply_pod(&elsewhere));
    assert_eq!(all(&agent.news().await), ["bind 10.0.0.1 a PodAmbiguous", "revoke 1"]);
    stand.pass_on(&stand.directory.delete_pod("uid-of-b"));
    assert_eq!(all(&agent.news().await), ["bind 10.0.0.1 a reader 2", "grant 2 ASIA1"]);
}

#[tokio::test(start_paused = true)]
async fn a_burst_of_changes_becomes_the_last_of_them() {
    let stand = Stand::with_reader().await;
    let mut agent = stand.synced().await;
    agent.news().await;
    for number in 0..1000 {
        let role = if number % 2 == 0 { None } else { Some("reader") };
        stand.pass_on(&stand.directory.apply_pod(&pod("a", "10.0.0.1", role)));
        stand.pass_on(&stand.directory.apply_pod(&pod("b", "10.0.0.2", role)));
        stand.pass_on(&stand.directory.delete_pod("uid-of-b"));
    }
    assert!(agent.news().await.is_empty(), "in the end nothing has changed");
    for _ in 0..1000 {
        stand.pass_on(&stand.directory.apply_pod(&pod("a", "10.0.0.1", None)));
        stand.pass_on(&stand.directory.apply_pod(&pod("a", "10.0.0.1", Some("reader"))));
    }
    stand.pass_on(&stand.directory.apply_pod(&pod("a", "10.0.0.3", Some("reader"))));
    let mut news = all(&agent.news().await);
    news.sort();
    assert_eq!(news, ["bind 10.0.0.3 a reader 1", "unbind 10.0.0.1"]);
}

#[tokio::test(start_paused = true)]
async fn more_changes_than_the_server_takes_note_of_are_all_told() {
    let stand = Stand::with_reader().await;
    let mut agent = stand.synced().await;
    agent.news().await;
    for number in 0..3000_u32 {
        let ip = std::net::Ipv4Addr::from(0x0a00_1000 + number).to_string();
        stand.pass_on(&stand.directory.apply_pod(&pod(&format!("p{number}"), &ip, Some("reader"))));
    }
    assert_eq!(agent.news().await.len(), 3000);
}

#[tokio::test(start_paused = true)]
async fn renewed_credentials_are_told_once_for_all_pods_of_the_role() {
    let stand = Stand::with_reader().await;
    for number in 2..=9 {
        stand.directory.apply_pod(&pod(&format!("p{number}"), &format!("10.0.0.{number}"), Some("reader")));
    }
    let mut agent = stand.synced().await;
    assert_eq!(all(&agent.news().await), ["grant 1 ASIA1"]);
    let mut news = agent.keep_for(Duration::from_mins(35)).await;
    let Some(Message::Grant(Grant { life_ms, .. })) = news.first() else { panic!("{:?}", all(&news)) };
    assert!((3_598_000..=3_600_000).contains(life_ms), "{life_ms}");
    assert_eq!(all(&news), ["grant 1 ASIA2"]);
    news = agent.keep_for(Duration::from_mins(35)).await;
    assert_eq!(all(&news), ["grant 1 ASIA3"]);
}

#[tokio::test(start_paused = true)]
async fn a_role_that_sts_refuses_is_withheld_until_a_pod_asks_and_sts_grants_it() {
    let stand = Stand::with_reader().await;
    stand.sts.refuse(READER, "AccessDenied");
    let mut agent = stand.synced().await;
    let news = agent.news().await;
    assert_eq!(all(&news), ["withhold 1 StsRefused"]);
    let Message::Withhold(withhold) = &news[0] else { panic!() };
    let refusal = withhold.refusal.as_ref().unwrap();
    assert_eq!((refusal.aws_code.as_str(), refusal.message.as_str()), ("AccessDenied", "AccessDenied: not you"));
    assert!(agent.keep_for(Duration::from_mins(10)).await.is_empty(), "it has been told");
    assert_eq!(stand.sts.calls().len(), 1, "and nobody has asked for it");
    stand.sts.recover(READER);
    stand.credentials("10.0.0.1", "reader").await.unwrap();
    assert_eq!(all(&agent.news().await), ["grant 1 ASIA2"]);
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_sts_tells_nothing_while_credentials_live() {
    let stand = Stand::with_reader().await;
    let mut agent = stand.synced().await;
    agent.news().await;
    stand.sts.fail(READER);
    assert!(agent.keep_for(Duration::from_mins(55)).await.is_empty());
    assert_eq!(all(&agent.keep_for(Duration::from_mins(10)).await), ["withhold 1 StsUnavailable"]);
    let mut late = stand.sync("node-1").await.unwrap();
    let snapshot = all(&late.snapshot().await);
    assert_eq!(snapshot[..2], ["welcome node-1", "bind 10.0.0.1 a reader 1"], "and perhaps why there is nothing");
    stand.sts.recover(READER);
    assert!(told(&agent.keep_for(Duration::from_secs(15)).await[0]).starts_with("grant 1"));
}

#[tokio::test(start_paused = true)]
async fn no_secret_of_a_stream_is_logged_or_exported() {
    let log = CapturedLog::start();
    let stand = Stand::with_reader().await;
    let mut agent = stand.synced().await;
    let news = agent.news().await;
    let Message::Grant(Grant { credentials: Some(credentials), .. }) = &news[0] else { panic!() };
    sleep(Duration::from_mins(2)).await;
    let metrics = prometheus::TextEncoder::new().encode_to_string(&stand.registry.gather()).unwrap();
    let logged = log.text();
    assert!(logged.contains("stream opened") && logged.contains("silent"), "{logged}");
    for secret in [&credentials.secret_access_key, &credentials.token] {
        assert!(!logged.contains(secret.as_str()) && !metrics.contains(secret.as_str()));
    }
    assert_eq!(stand.count(r#"kiam_node_messages_total{kind="grant"}"#), 1);
    assert_eq!(stand.count(r#"kiam_node_messages_total{kind="bind"}"#), 1);
}
