//! Whose trace a call to STS belongs to.

use kiam_common::telemetry::rpc;
use kiam_common::testing::CapturedSpans;
use tonic::Status;
use tonic::metadata::MetadataMap;

use super::*;

const ROOT: &str = "0000000000000000";

/// A pod asks in a trace of its own.
async fn ask(stand: &Stand) {
    let get = async { stand.get("reader").await.map_err(|error| Status::unavailable(error.to_string())) };
    rpc::within(rpc::answering("GetPodCredentials", &MetadataMap::new()), get).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_call_belongs_to_who_asked_first_and_the_others_say_which_it_was() {
    let (spans, stand) = (CapturedSpans::start(), Stand::new());
    stand.sts.answer_after(SECOND / 10);
    tokio::join!(ask(&stand), ask(&stand), ask(&stand));
    let fetch = spans.only("fetch");
    let asked: Vec<_> = spans.ended().into_iter().filter(|span| span.name.ends_with("GetPodCredentials")).collect();
    assert_eq!(asked.len(), 3);
    for span in asked {
        let is_first = span.span_id == fetch.parent_id;
        assert_eq!((span.trace_id == fetch.trace_id, span.links.is_empty()), (is_first, is_first), "{span:?}");
        assert!(is_first || span.links == [fetch.span_id.clone()], "{span:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_server_does_by_itself_is_a_trace_of_its_own() {
    let (spans, stand) = (CapturedSpans::start(), Stand::new());
    stand.add_pod("a", "reader");
    settle().await;
    let (fetch, call) = (spans.only("fetch"), spans.only("STS/AssumeRole"));
    assert_eq!((&*fetch.parent_id, &call.parent_id, &call.trace_id), (ROOT, &fetch.span_id, &fetch.trace_id));
}

#[tokio::test(start_paused = true)]
async fn each_attempt_is_a_span_of_the_one_fetch() {
    let (spans, stand) = (CapturedSpans::start(), Stand::new());
    stand.sts.fail_all(Some(StsErrorKind::Throttled));
    stand.get("reader").await.unwrap_err();
    let fetch = spans.only("fetch");
    let attempts: Vec<_> = spans.ended().into_iter().filter(|span| span.name == "STS/AssumeRole").collect();
    assert!(attempts.len() > 1 && attempts.iter().all(|attempt| attempt.parent_id == fetch.span_id), "{attempts:?}");
    assert_eq!(attempts.len(), stand.calls());
}
