//! Who gets no credentials: with the status that README promises, the code in the body, and an event on the pod where
//! there is one.

use std::net::Ipv4Addr;

use http::StatusCode;
use k8s_openapi::api::core::v1::Event;
use kiam_tests::real::eventually;
use kiam_tests::real::http::Answer;
use kiam_tests::real::namespace::{EXTERNAL_ID, Namespace, Pod, ROLE, free_ip};
use kiam_tests::sts::{Fault, Refusal, Scope, Sts};
use serde_json::json;

use crate::world::{BASE_ARN, CREDENTIALS, World};

#[track_caller]
fn assert_refused(answer: &Answer, status: StatusCode, code: &str) {
    assert_eq!((answer.status, answer.field("Code").as_str()), (status, code), "{}", answer.body);
    assert!(!answer.field("Message").is_empty(), "{}", answer.body);
}

/// The one event that the server put on the pod.
async fn event(namespace: &Namespace, pod: &Pod) -> Event {
    let mut events = eventually("an event on the pod", async || {
        Some(namespace.events(pod).await).filter(|events| !events.is_empty())
    })
    .await;
    assert_eq!(events.len(), 1, "{events:?}");
    events.remove(0)
}

#[tokio::test]
async fn a_role_that_the_namespace_does_not_permit_is_forbidden_and_the_pod_has_the_event() {
    let world = World::start().await;
    let namespace = world.namespace(".*:role/other").await;
    let pod = namespace.run("reader", &[(ROLE, "reader")]).await;
    for _ in 0..5 {
        assert_refused(&world.ask_for(&pod, "reader").await, StatusCode::FORBIDDEN, "Forbidden");
    }

    let event = eventually("the event to count all five", async || {
        Some(event(&namespace, &pod).await).filter(|event| event.count == Some(5))
    })
    .await;
    assert_eq!((event.type_.as_deref(), event.reason.as_deref()), (Some("Warning"), Some("KiamRoleForbidden")));
    let message = event.message.expect("a message");
    assert!(message.starts_with("failed assuming role") && message.contains("reader"), "{message}");
    assert_eq!(event.source.expect("a source").component.as_deref(), Some("kiam.server"));
    let involved = event.involved_object;
    assert_eq!((involved.kind.as_deref(), involved.name.as_deref()), (Some("Pod"), Some("reader")));
    assert_eq!(involved.uid, namespace.get(&pod).await.metadata.uid);
}

#[tokio::test]
async fn a_namespace_without_a_permission_permits_nothing() {
    let world = World::start().await;
    for annotations in [&[][..], &[("iam.amazonaws.com/permitted", "")], &[("iam.amazonaws.com/permitted", "(")]] {
        let pod = world.annotated_namespace(annotations).await.run("reader", &[(ROLE, "reader")]).await;
        let answer = world.ask_for(&pod, "reader").await;
        assert_refused(&answer, StatusCode::FORBIDDEN, "Forbidden");
    }
}

#[tokio::test]
async fn alternation_in_a_namespaces_expression_is_no_hole() {
    let world = World::start().await;
    let namespace = world.namespace(&format!("{BASE_ARN}reader|{BASE_ARN}writer")).await;
    for (role, status) in [
        ("reader", StatusCode::OK),
        ("writer", StatusCode::OK),
        ("reader-and-more", StatusCode::FORBIDDEN),
        ("arn:aws:iam::210987654321:role/writer", StatusCode::FORBIDDEN),
    ] {
        let name = if role.starts_with("arn:") { "other-account" } else { role };
        let pod = namespace.run(name, &[(ROLE, role)]).await;
        assert_eq!(world.ask_for(&pod, role).await.status, status, "{role}");
    }
}

#[tokio::test]
async fn permission_is_judged_by_the_annotation_of_the_moment() {
    let world = World::start().await;
    let namespace = world.namespace(".*").await;
    let pod = namespace.run("reader", &[(ROLE, "reader")]).await;
    assert_eq!(world.ask_for(&pod, "reader").await.status, StatusCode::OK);
    namespace.annotate(json!({"iam.amazonaws.com/permitted": null})).await;
    eventually("the permission to end", async || {
        (world.ask_for(&pod, "reader").await.status == StatusCode::FORBIDDEN).then_some(())
    })
    .await;
}

#[tokio::test]
async fn another_role_than_the_annotated_one_is_forbidden() {
    let world = World::start().await;
    let pod = world.namespace(".*").await.run("reader", &[(ROLE, "reader")]).await;
    for role in ["writer", "team/reader", "arn:aws:iam::210987654321:role/reader", "reader%2Fx"] {
        assert_refused(&world.ask_for(&pod, role).await, StatusCode::FORBIDDEN, "Forbidden");
    }
}

#[tokio::test]
async fn a_pod_without_a_role_is_told_so() {
    let world = World::start().await;
    let namespace = world.namespace(".*").await;
    let pod = namespace.run("bystander", &[]).await;
    for path in [CREDENTIALS.to_owned(), format!("{CREDENTIALS}reader")] {
        assert_refused(&world.ask(&pod, &path).await, StatusCode::NOT_FOUND, "NoRole");
    }
    assert!(namespace.events(&pod).await.is_empty(), "having no role is no error");
}

#[tokio::test]
async fn an_address_that_no_pod_has_is_not_found_after_five_seconds() {
    let world = World::start().await;
    let nobody = Pod { name: "nobody".into(), ip: free_ip() };
    let asked = tokio::time::Instant::now();
    assert_refused(&world.ask_for(&nobody, "reader").await, StatusCode::NOT_FOUND, "PodNotFound");
    let waited = asked.elapsed().as_secs_f64();
    assert!((3.5..6.5).contains(&waited), "{waited} s");
}

#[tokio::test]
async fn a_pod_that_the_server_hears_of_while_it_asks_is_answered_at_once() {
    let world = World::start().await;
    let namespace = world.namespace(".*").await;
    let ip = free_ip();
    let early = Pod { name: "early".into(), ip };
    let (answer, ()) = tokio::join!(world.ask_for(&early, "reader"), async {
        // The request is under way when the pod appears.
        eventually("the server to be asked", async || world.logs.read().contains(&ip.to_string()).then_some(())).await;
        namespace.run_at(ip, "early", &[(ROLE, "reader")]).await;
    });
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
}

#[tokio::test]
async fn annotations_that_aws_would_not_take_are_refused_with_an_event() {
    let world = World::start().await;
    let namespace = world.namespace(".*").await;
    let long = "x".repeat(10_000);
    for (name, annotations) in [
        ("control", vec![(ROLE, "rea\u{7}der\n")]),
        ("unicode", vec![(ROLE, "r\u{e4}der-\u{1f600}")]),
        ("no-arn", vec![(ROLE, "arn:aws:s3:::bucket")]),
        ("long", vec![(ROLE, long.as_str())]),
        ("external-id", vec![(ROLE, "reader"), (EXTERNAL_ID, "a b")]),
    ] {
        let pod = namespace.run(name, &annotations).await;
        assert_refused(&world.ask_for(&pod, "reader").await, StatusCode::FORBIDDEN, "InvalidAnnotation");
        let event = event(&namespace, &pod).await;
        assert_eq!(event.reason.as_deref(), Some("KiamInvalidAnnotation"), "{name}");
        assert!(event.message.is_some_and(|message| message.len() < 1024), "{name}");
    }
}

#[tokio::test]
async fn a_finished_pods_address_is_nobodys() {
    let world = World::start().await;
    let namespace = world.namespace(".*").await;
    let finished = [("done", "Succeeded"), ("crashed", "Failed")];
    let answers = finished.map(async |(name, phase)| {
        let pod = namespace.run(name, &[(ROLE, "reader")]).await;
        assert_eq!(world.ask_for(&pod, "reader").await.status, StatusCode::OK);
        namespace.set_phase(&pod, phase).await;
        eventually("the pod's end to be seen", async || {
            (world.ask_for(&pod, "reader").await.status == StatusCode::NOT_FOUND).then_some(())
        })
        .await;
        // Its address is the next pod's.
        namespace.run_at(pod.ip, &format!("{name}-next"), &[(ROLE, "writer")]).await;
        assert_eq!(world.ask(&pod, CREDENTIALS).await.body, "writer");
    });
    futures_util::future::join_all(answers).await;
}

#[tokio::test]
async fn two_pods_with_one_address_are_both_refused() {
    let world = World::start().await;
    let namespace = world.namespace(".*").await;
    let ip: Ipv4Addr = free_ip();
    let first = namespace.run_at(ip, "first", &[(ROLE, "reader")]).await;
    assert_eq!(world.ask_for(&first, "reader").await.status, StatusCode::OK);
    let second = namespace.run_at(ip, "second", &[(ROLE, "reader")]).await;
    eventually("both pods to be seen", async || {
        (world.ask_for(&first, "reader").await.status == StatusCode::CONFLICT).then_some(())
    })
    .await;
    assert_refused(&world.ask(&first, CREDENTIALS).await, StatusCode::CONFLICT, "PodAmbiguous");
    namespace.delete(&second).await;
    eventually("the deletion to be seen", async || {
        (world.ask_for(&first, "reader").await.status == StatusCode::OK).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_sts_refuses_keeps_its_code_in_the_answer_and_in_the_event() {
    let sts = Sts::start().await.expect("a free port");
    let arn = format!("{BASE_ARN}untrusting");
    sts.set_fault(Scope::Role(arn.clone()), Fault::Refuse(Refusal::access_denied("kiam-server", &arn)));
    let world = World::with_sts(&sts.url()).await;
    let namespace = world.namespace(".*").await;
    let pod = namespace.run("reader", &[(ROLE, "untrusting")]).await;

    let answer = world.ask_for(&pod, "untrusting").await;
    assert_refused(&answer, StatusCode::BAD_GATEWAY, "StsRefused");
    assert!(answer.field("Message").contains("AccessDenied"), "{}", answer.body);
    let event = event(&namespace, &pod).await;
    assert_eq!(event.reason.as_deref(), Some("KiamCredentialError"));
    let message = event.message.expect("a message");
    assert!(message.starts_with("failed retrieving credentials: AccessDenied: "), "{message}");
}
