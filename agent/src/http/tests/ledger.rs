//! Answers from the ledger: made without a call, as long as it may be relied on.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::*;
use crate::document::render_both;
use crate::ledger::fake::of_pod;
use crate::ledger::{BoundRole, Change, Credentials, Decision, Told};

const ARN: &str = "arn:aws:iam::123456789012:role/team/reader";

fn address(ip: &str) -> IpAddr {
    ip.parse().unwrap()
}

fn bound(ip: &str, uid: &str, decision: Decision) -> Change {
    Change::Bind(address(ip), of_pod(uid, decision))
}

fn reader(ip: &str) -> Change {
    let role = BoundRole { name: "/team/reader".into(), arn: ARN.into(), session: 1 };
    bound(ip, "u-1", Decision::Role(role))
}

fn granted(life: Duration) -> Change {
    Change::Grant(1, Credentials { documents: render_both(credentials()).unwrap(), ends: Instant::now() + life })
}

const HOUR: Duration = Duration::from_hours(1);

/// [`POD`] has a role and its credentials; a call would say something else.
async fn supplied() -> Stand {
    let stand = Stand::new().await;
    stand.ledger.replace(Told::default());
    stand.ledger.apply([reader(POD), granted(HOUR)]).unwrap();
    stand
}

impl Stand {
    /// A pod asks for credentials of a role, beside the test.
    fn asking(self: &Arc<Self>, pod: &'static str, role: &'static str) -> JoinHandle<Answer> {
        let stand = self.clone();
        tokio::spawn(async move { stand.ask(pod, Method::GET, &format!("{LIST}{role}"), &[]).await })
    }

    fn calls(&self) -> usize {
        self.server.calls.lock().unwrap().len()
    }

    fn answers(&self, from: &str) -> Option<f64> {
        self.metric(&format!(r#"kiam_ledger_answers_total{{from="{from}"}}"#))
    }
}

#[tokio::test]
async fn a_pod_that_is_supplied_is_answered_without_a_call() {
    let stand = supplied().await;
    assert_eq!(stand.get(LIST).await.body, "/team/reader");
    for role in ["team/reader", "/team/reader", "%2Fteam%2Freader", "team/reader/", ARN] {
        let answer = stand.get(&format!("{LIST}{role}")).await;
        assert!(answer.status == 200 && answer.body.contains(SECRET), "{role}: {}", answer.body);
        assert_eq!(answer.headers["content-type"], "application/json");
        assert!(!answer.body.contains("AccountId"));
    }
    let extended = stand.get(&format!("/latest/meta-data/iam/security-credentials-extended/{ARN}")).await;
    assert!(extended.body.contains(r#""AccountId":"123456789012""#), "{}", extended.body);
    assert_eq!((stand.calls(), stand.answers("ledger"), stand.answers("server")), (0, Some(7.0), Some(0.0)));
}

#[tokio::test]
async fn a_pod_with_a_mapped_address_is_the_same_pod() {
    let stand = supplied().await;
    let answer = stand.ask("::ffff:10.0.0.1", Method::GET, LIST, &[]).await;
    assert_eq!((answer.body.as_str(), stand.calls()), ("/team/reader", 0));
}

#[tokio::test]
async fn what_the_ledger_does_not_settle_is_asked_of_the_server() {
    let stand = supplied().await;
    assert_eq!(stand.get(&format!("{LIST}reader")).await.status, 200, "another spelling: the server judges it");
    assert_eq!(stand.get(&format!("{LIST}other")).await.code(), "Forbidden");
    stand.ledger.apply([Change::Revoke(1)]).unwrap();
    assert_eq!(stand.get(&format!("{LIST}team/reader")).await.code(), "Forbidden", "no credentials yet");
    assert_eq!((stand.calls(), stand.answers("server")), (3, Some(3.0)));
}

#[tokio::test(start_paused = true)]
async fn credentials_that_have_ended_are_asked_for_anew() {
    let stand = Stand::new().await;
    stand.ledger.replace(Told::default());
    stand.ledger.apply([reader(POD), granted(Duration::from_mins(1))]).unwrap();
    let target = format!("{LIST}team/reader");
    sleep(Duration::from_millis(59_999)).await;
    assert_eq!((stand.get(&target).await.status, stand.calls()), (200, 0));
    sleep(Duration::from_millis(1)).await;
    stand.get(&target).await;
    assert_eq!(stand.calls(), 1);
}

#[tokio::test]
async fn a_pod_that_gets_nothing_is_told_by_the_ledger() {
    let stand = supplied().await;
    for reason in [Reason::NoRole, Reason::PodAmbiguous] {
        stand.ledger.apply([bound(POD, "u-1", Decision::Refused(refusal(reason)))]).unwrap();
        for target in [LIST.to_owned(), format!("{LIST}team/reader")] {
            assert_eq!(stand.get(&target).await.code(), reason.as_str());
        }
    }
    assert_eq!(stand.calls(), 0);
    assert_eq!(stand.metric(r#"kiam_metadata_empty_role_total{handler="roleName"}"#), Some(1.0));
}

#[tokio::test]
async fn a_refusal_that_belongs_on_the_pod_as_an_event_is_the_servers_while_it_is_there() {
    let stand = supplied().await;
    stand.ledger.apply([bound(POD, "u-1", Decision::Refused(refusal(Reason::Forbidden)))]).unwrap();
    stand.get(&format!("{LIST}team/reader")).await;
    assert_eq!(stand.calls(), 1);
    stand.ledger.lost();
    assert_eq!(stand.get(&format!("{LIST}team/reader")).await.code(), "Forbidden");
    assert_eq!(stand.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_is_pushed_while_it_waits_is_answered_at_once() {
    let stand = Arc::new(supplied().await);
    let started = Instant::now();
    let waiting = stand.asking(OTHER, "team/reader");
    sleep(Duration::from_secs(2)).await;
    stand.ledger.apply([reader(OTHER)]).unwrap();
    assert_eq!(waiting.await.unwrap().status, 200);
    assert_eq!((started.elapsed(), stand.answers("ledger")), (Duration::from_secs(2), Some(1.0)));
}

#[tokio::test(start_paused = true)]
async fn without_a_stream_what_is_not_pinned_counts_for_ten_seconds() {
    let stand = supplied().await;
    let target = format!("{LIST}team/reader");
    stand.server.set(POD, Pod::Refused(refusal(Reason::ServerUnreachable)));
    stand.ledger.lost();
    sleep(MAX_STALE.checked_sub(Duration::from_millis(1)).unwrap()).await;
    assert_eq!((stand.get(&target).await.status, stand.calls()), (200, 0));
    sleep(Duration::from_millis(1)).await;
    for target in [LIST, &target] {
        let answer = stand.get(target).await;
        assert_eq!((answer.status, answer.code().as_str()), (503, "Stale"));
        assert!(answer.headers.contains_key("retry-after"));
    }
    assert_eq!(stand.metric(r#"kiam_metadata_refused_total{reason="Stale"}"#), Some(2.0));
    stand.ledger.replace(Told::default());
    stand.ledger.apply([reader(POD), granted(HOUR)]).unwrap();
    assert_eq!(stand.get(&target).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn what_is_stale_is_asked_of_a_server_that_can_be_reached_by_calls() {
    let stand = supplied().await;
    stand.ledger.lost();
    sleep(MAX_STALE).await;
    assert_eq!(stand.get(&format!("{LIST}reader")).await.status, 200);
    assert_eq!(stand.calls(), 1);
}

/// [`POD`] has been followed by another, and a server that lags says that it is back.
async fn unconfirmed() -> Stand {
    let stand = supplied().await;
    stand.ledger.apply([bound(POD, "u-2", Decision::Refused(refusal(Reason::NoRole)))]).unwrap();
    stand.ledger.apply([reader(POD)]).unwrap();
    stand
}

#[tokio::test(start_paused = true)]
async fn an_address_that_may_be_another_pods_waits_for_the_servers_next_word_and_asks_nobody() {
    let stand = Arc::new(unconfirmed().await);
    let started = Instant::now();
    let waiting = stand.asking(POD, "team/reader");
    sleep(Duration::from_secs(3)).await;
    let role = BoundRole { name: "/team/reader".into(), arn: ARN.into(), session: 1 };
    stand.ledger.apply([bound(POD, "u-3", Decision::Role(role))]).unwrap();
    assert_eq!(waiting.await.unwrap().status, 200);
    assert_eq!((started.elapsed().as_secs(), stand.calls()), (3, 0));
}

#[tokio::test(start_paused = true)]
async fn an_address_that_stays_unconfirmed_is_refused_after_five_seconds() {
    let stand = unconfirmed().await;
    for target in [LIST.to_owned(), format!("{LIST}team/reader")] {
        let started = Instant::now();
        let answer = stand.get(&target).await;
        assert_eq!((answer.status, answer.code().as_str()), (503, "Unconfirmed"));
        assert_eq!(started.elapsed().as_secs(), 5);
    }
    assert_eq!((stand.calls(), stand.metric(r#"kiam_metadata_refused_total{reason="Unconfirmed"}"#)), (0, Some(2.0)));
}

/// [`POD`] has left its address, which leads to another pod now; a server that lags still names the last one when it is
/// asked.
async fn followed() -> Stand {
    let stand = Stand::new().await;
    stand.ledger.replace(Told::default());
    stand.network.lead(address(POD), 1, None);
    stand.ledger.apply([reader(POD), Change::Unbind(address(POD))]).unwrap();
    stand.network.lead(address(POD), 2, None);
    stand.ledger.examine(address(POD));
    *stand.server.uid.lock().unwrap() = Some("u-1");
    stand
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_asked_and_lags_is_not_believed() {
    let stand = followed().await;
    for target in [LIST, &format!("{LIST}reader")] {
        let answer = stand.get(target).await;
        assert_eq!((answer.status, answer.code().as_str()), (503, "Unconfirmed"), "{target}");
    }
    *stand.server.uid.lock().unwrap() = None;
    assert_eq!(stand.get(LIST).await.status, 200, "a server of Kiam's does not say which pod it means");
}

#[tokio::test(start_paused = true)]
async fn a_pod_is_served_as_soon_as_a_server_that_lagged_names_it() {
    let stand = Arc::new(followed().await);
    let started = Instant::now();
    let waiting = stand.asking(POD, "reader");
    sleep(Duration::from_secs(2)).await;
    *stand.server.uid.lock().unwrap() = Some("u-2");
    assert_eq!(waiting.await.unwrap().status, 200);
    assert!(started.elapsed() < Duration::from_millis(2300), "{:?}", started.elapsed());
}
