//! What is asked and what is answered.

use std::collections::HashMap;
use std::time::Duration;

use kiam_common::reason::Reason;
use kiam_proto::POD_UID;
use kiam_proto::kiam::kiam_service_client::KiamServiceClient;
use kiam_proto::kiam::{GetHealthRequest, GetPodCredentialsRequest, GetPodRoleRequest};
use tokio::time::{Instant, sleep};
use tonic::{Code, Request};

use super::{Stand, settle};
use crate::directory::pods::PodFields;
use crate::events::EventReason;
use crate::fixtures::{READER, namespace, pod};

#[tokio::test(start_paused = true)]
async fn a_pod_gets_the_credentials_of_its_role() {
    let stand = Stand::with_reader().await;
    assert_eq!(stand.role("10.0.0.1").await.unwrap(), "reader");
    let credentials = stand.credentials("10.0.0.1", "reader").await.unwrap();
    assert_eq!(credentials.code, "Success");
    assert_eq!(credentials.r#type, "AWS-HMAC");
    assert_eq!(credentials.access_key_id, "ASIA1");
    assert_eq!(credentials.secret_access_key, "secret-access-key-1");
    assert_eq!(credentials.token, "session-token-1");
    assert_eq!(credentials.expiration, "2026-11-21T11:00:00Z");
    for other_name in ["/reader", READER] {
        assert_eq!(stand.credentials("10.0.0.1", other_name).await.unwrap().access_key_id, "ASIA1");
    }
    let calls = stand.sts.calls();
    assert_eq!(calls.len(), 1);
    assert_eq!((calls[0].arn.as_str(), calls[0].session_name.as_str()), (READER, "kiam-kiam"));
}

#[tokio::test(start_paused = true)]
async fn the_role_is_the_annotations_own_text() {
    let stand = Stand::new().await;
    stand.directory.apply_pod(&pod("a", "10.0.0.1", Some("/team/reader")));
    stand.directory.apply_pod(&pod("b", "10.0.0.2", None));
    assert_eq!(stand.role("10.0.0.1").await.unwrap(), "/team/reader");
    assert_eq!(stand.role("10.0.0.2").await.unwrap(), "", "Kiam's answer for a pod without a role");
}

#[tokio::test(start_paused = true)]
async fn an_answer_names_the_pod_that_it_is_for() {
    let stand = Stand::with_reader().await;
    let mut client = KiamServiceClient::new(stand.channel.clone());
    let role = client.get_pod_role(GetPodRoleRequest { ip: "10.0.0.1".into() }).await.unwrap();
    let request = GetPodCredentialsRequest { ip: "10.0.0.1".into(), role: "reader".into() };
    let credentials = client.get_pod_credentials(request).await.unwrap();
    for metadata in [role.metadata(), credentials.metadata()] {
        assert_eq!(metadata.get(POD_UID).unwrap(), "uid-of-a");
    }
}

#[tokio::test(start_paused = true)]
async fn another_role_than_the_annotated_is_forbidden_with_an_event() {
    let stand = Stand::with_reader().await;
    let status = stand.credentials("10.0.0.1", "writer").await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::PermissionDenied, "forbidden by policy"));
    settle().await;
    let written = stand.events.written().clone();
    assert_eq!(written.created.len(), 1);
    assert_eq!(written.created[0].reason, EventReason::RoleForbidden);
    assert_eq!(
        written.created[0].message,
        "failed assuming role \"writer\": the pod asks for arn:aws:iam::123456789012:role/writer \
         but is annotated with arn:aws:iam::123456789012:role/reader"
    );
    assert!(stand.sts.calls().is_empty());
    assert_eq!(stand.count(r#"kiam_requests_refused_total{reason="Forbidden"}"#), 1);
}

#[tokio::test(start_paused = true)]
async fn a_role_that_the_namespace_does_not_permit_is_forbidden_and_never_asked_of_sts() {
    let stand = Stand::with_reader().await;
    stand.directory.apply_namespace(&namespace(".*:role/writer"));
    let refusal = stand.refusal("10.0.0.1", "reader").await;
    assert_eq!(refusal.reason, Reason::Forbidden);
    assert!(refusal.message.contains("iam.amazonaws.com/permitted"), "{}", refusal.message);
    assert!(stand.sts.calls().is_empty());
}

#[tokio::test(start_paused = true)]
async fn each_refusal_has_its_reason() {
    let stand = Stand::with_reader().await;
    stand.directory.apply_pod(&pod("none", "10.0.0.2", None));
    stand.directory.apply_pod(&pod("odd", "10.0.0.3", Some("a b")));
    stand.directory.apply_pod(&pod("twin-1", "10.0.0.4", Some("reader")));
    stand.directory.apply_pod(&pod("twin-2", "10.0.0.4", Some("reader")));
    stand.directory.apply_pod(&PodFields { namespace: "new".into(), ..pod("early", "10.0.0.5", Some("reader")) });
    for (ip, role, reason) in [
        ("10.0.0.9", "reader", Reason::PodNotFound),
        ("10.0.0.2", "reader", Reason::NoRole),
        ("10.0.0.3", "a b", Reason::InvalidAnnotation),
        ("10.0.0.4", "reader", Reason::PodAmbiguous),
        ("10.0.0.5", "reader", Reason::ServerNotReady),
        ("10.0.0.1", "", Reason::BadRequest),
        ("10.0.0.1", "a b", Reason::BadRequest),
        ("10.0.0.256", "reader", Reason::BadRequest),
        ("", "reader", Reason::BadRequest),
    ] {
        assert_eq!(stand.refusal(ip, role).await.reason, reason, "{ip} {role}");
    }
    assert!(stand.role("10.0.0.3").await.is_err(), "a role that nobody understands is not handed on");
    settle().await;
    let reasons: HashMap<_, _> =
        stand.events.written().created.iter().map(|event| (event.pod.name.to_string(), event.reason)).collect();
    assert_eq!(reasons, HashMap::from([("odd".to_owned(), EventReason::InvalidAnnotation)]));
}

#[tokio::test(start_paused = true)]
async fn what_sts_says_reaches_the_caller_and_the_pods_owner() {
    let stand = Stand::with_reader().await;
    stand.sts.refuse(READER, "AccessDenied");
    let refusal = stand.refusal("10.0.0.1", "reader").await;
    assert_eq!((refusal.reason, refusal.aws_code.as_deref()), (Reason::StsRefused, Some("AccessDenied")));
    settle().await;
    let message = stand.events.written().created[0].message.clone();
    assert_eq!(message, "failed retrieving credentials: AccessDenied: not you");
    stand.sts.fail(READER);
    // So long is the refusal remembered.
    sleep(Duration::from_secs(7)).await;
    assert_eq!(stand.refusal("10.0.0.1", "reader").await.reason, Reason::StsUnavailable);
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_is_not_known_yet_is_waited_for() {
    let stand = Stand::with_reader().await;
    let arrival = async {
        sleep(Duration::from_secs(3)).await;
        stand.directory.apply_pod(&pod("late", "10.0.0.2", Some("reader")));
    };
    let start = Instant::now();
    let (credentials, ()) = tokio::join!(stand.credentials("10.0.0.2", "reader"), arrival);
    assert_eq!(credentials.unwrap().access_key_id, "ASIA1");
    assert_eq!(start.elapsed().as_secs(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_is_not_known_yet_is_waited_for() {
    let stand = Stand::new().await;
    stand.directory.apply_pod(&pod("a", "10.0.0.1", Some("reader")));
    let arrival = async {
        sleep(Duration::from_secs(2)).await;
        stand.directory.apply_namespace(&namespace(".*"));
    };
    let (credentials, ()) = tokio::join!(stand.credentials("10.0.0.1", "reader"), arrival);
    credentials.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_caller_in_a_hurry_hears_that_the_pod_is_not_known_before_it_gives_up() {
    let stand = Stand::with_reader().await;
    let mut request = Request::new(GetPodRoleRequest { ip: "10.0.0.9".into() });
    request.set_timeout(Duration::from_secs(1));
    let start = Instant::now();
    let status = KiamServiceClient::new(stand.channel.clone()).get_pod_role(request).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::NotFound, "no pod found"));
    assert_eq!(start.elapsed().as_millis() / 100, 9);
}

#[tokio::test(start_paused = true)]
async fn before_the_first_lists_nothing_is_answered_but_health() {
    let stand = Stand::with_reader().await;
    stand.pods_listed.set();
    let refusal = stand.refusal("10.0.0.1", "reader").await;
    assert_eq!(refusal.reason, Reason::ServerNotReady);
    assert!(refusal.message.contains("pods"), "{}", refusal.message);
    let health = KiamServiceClient::new(stand.channel.clone()).get_health(GetHealthRequest {}).await.unwrap();
    assert_eq!(health.into_inner().message, "ok");
}
