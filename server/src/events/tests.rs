//! The recorder with a fake sink, under paused time.

use std::sync::Arc;
use std::time::Duration;

use kiam_common::clock::Clock;
use kiam_common::registry::Registry;
use kiam_common::shutdown::Shutdown;
use tokio::time::sleep;

use super::fake::FakeEvents;
use super::{EventReason, LONGEST_MESSAGE, QUEUE, Recorder};
use crate::directory::pods::Pod;
use crate::error::Error;
use crate::fixtures;
use crate::metrics::EventMetrics;
use crate::policy::Denial;
use crate::sts::{StsError, StsErrorKind};

fn recorder() -> (Recorder, Arc<FakeEvents>, EventMetrics) {
    let (sink, metrics) = (Arc::new(FakeEvents::default()), EventMetrics::new(&Registry::new()).unwrap());
    let clock = Clock::starting_at("2026-11-21T10:00:00Z".parse().unwrap());
    let (recorder, recording) = Recorder::new(Arc::clone(&sink) as _, clock, metrics.clone(), Shutdown::new());
    tokio::spawn(recording);
    (recorder, sink, metrics)
}

async fn pod(name: &str) -> Arc<Pod> {
    let directory = fixtures::directory();
    directory.apply_pod(&fixtures::pod(name, "10.0.0.1", Some("reader")));
    fixtures::owner(&directory, "10.0.0.1").await
}

fn forbidden() -> Error {
    Error::Forbidden(Denial::NothingPermitted { annotation: "iam.amazonaws.com/permitted" })
}

async fn settle() {
    sleep(Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn the_first_refusal_of_a_pod_becomes_an_event_at_once() {
    let (recorder, sink, metrics) = recorder();
    recorder.refused(&pod("a").await, "reader", &forbidden());
    settle().await;
    let event = sink.written().created[0].clone();
    assert_eq!((event.reason, event.count), (EventReason::RoleForbidden, 1));
    assert_eq!(event.reason.as_str(), "KiamRoleForbidden");
    assert!(event.name.starts_with("a."), "{}", event.name);
    assert!(event.message.starts_with("failed assuming role \"reader\": the namespace has no"), "{}", event.message);
    assert_eq!(metrics.posted.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn repetitions_become_a_count_on_the_same_event() {
    let (recorder, sink, _) = recorder();
    let pod = pod("a").await;
    for _ in 0..50 {
        recorder.refused(&pod, "reader", &forbidden());
    }
    let error = StsError { kind: StsErrorKind::Refused, code: Some("AccessDenied".into()), message: "no".into() };
    recorder.refused(&pod, "reader", &Error::Sts(Arc::new(error)));
    sleep(Duration::from_secs(11)).await;
    let written = sink.written().clone();
    let reasons: Vec<_> = written.created.iter().map(|event| event.reason).collect();
    assert_eq!(reasons, [EventReason::RoleForbidden, EventReason::CredentialError]);
    assert_eq!(written.created[1].message, "failed retrieving credentials: AccessDenied: no");
    assert_eq!(written.updated.len(), 1);
    assert_eq!((written.updated[0].count, &written.updated[0].name), (50, &written.created[0].name));
    sleep(Duration::from_mins(1)).await;
    assert_eq!(sink.written().updated.len(), 1, "nothing new, nothing written");
}

#[tokio::test(start_paused = true)]
async fn after_a_while_a_repetition_is_a_new_event() {
    let (recorder, sink, _) = recorder();
    let pod = pod("a").await;
    recorder.refused(&pod, "reader", &forbidden());
    sleep(Duration::from_secs(615)).await;
    recorder.refused(&pod, "reader", &forbidden());
    settle().await;
    let names: Vec<_> = sink.written().created.iter().map(|event| event.name.clone()).collect();
    assert_eq!(names.len(), 2);
    assert_ne!(names[0], names[1]);
}

#[tokio::test(start_paused = true)]
async fn a_flood_is_cut_off_and_counted_and_never_waits() {
    let (recorder, sink, metrics) = recorder();
    let mut pods = Vec::new();
    for n in 0..300 {
        pods.push(pod(&format!("pod-{n}")).await);
    }
    for pod in &pods {
        recorder.refused(pod, "reader", &forbidden());
    }
    sleep(Duration::from_secs(5)).await;
    assert_eq!(sink.written().created.len(), 100);
    assert_eq!(metrics.dropped.get(), 200);
    for _ in 0..=QUEUE {
        recorder.refused(&pods[0], "reader", &forbidden());
    }
    assert_eq!(metrics.dropped.get(), 201, "one more than the queue holds");
}

#[tokio::test(start_paused = true)]
async fn an_event_that_the_api_refuses_is_tried_again_with_the_next_refusal() {
    let (recorder, sink, metrics) = recorder();
    let pod = pod("a").await;
    sink.written().refuse = true;
    recorder.refused(&pod, "reader", &forbidden());
    settle().await;
    assert_eq!((sink.written().created.len(), metrics.dropped.get()), (0, 1));
    sink.written().refuse = false;
    recorder.refused(&pod, "reader", &forbidden());
    settle().await;
    assert_eq!(sink.written().created.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn names_and_messages_are_what_the_api_takes_however_long_the_pods_are() {
    let (recorder, sink, _) = recorder();
    let name = format!("{}.{}", "a".repeat(199), "b".repeat(53));
    recorder.refused(&pod(&name).await, &"x".repeat(100_000), &forbidden());
    settle().await;
    let event = sink.written().created[0].clone();
    assert!(event.name.len() <= 253 && !event.name.contains(".."), "{}", event.name);
    assert_eq!(event.message.chars().count(), LONGEST_MESSAGE);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_the_owners_business_is_no_event() {
    let (recorder, sink, _) = recorder();
    recorder.refused(&pod("a").await, "reader", &Error::NoRole);
    recorder.refused(&pod("a").await, "reader", &Error::NamespaceUnknown("team".into()));
    settle().await;
    assert!(sink.written().created.is_empty());
}
