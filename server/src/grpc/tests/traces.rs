//! A call as a span: of the caller's trace, with the fetch and the call to STS below it.

use kiam_common::testing::CapturedSpans;
use kiam_proto::kiam::GetPodCredentialsRequest;
use kiam_proto::kiam::kiam_service_client::KiamServiceClient;
use tonic::Request;

use super::Stand;
use crate::fixtures::{READER, namespace, pod};

const NAME: &str = "kiam.KiamService/GetPodCredentials";
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

#[tokio::test(start_paused = true)]
async fn a_call_belongs_to_the_callers_trace_and_sts_to_the_call() {
    let (spans, stand) = (CapturedSpans::start(), Stand::with_reader().await);
    let mut request = Request::new(GetPodCredentialsRequest { ip: "10.0.0.1".into(), role: "reader".into() });
    request.metadata_mut().insert("traceparent", format!("00-{TRACE}-{CALLER}-01").parse().unwrap());
    KiamServiceClient::new(stand.channel.clone()).get_pod_credentials(request).await.unwrap();
    let (call, fetch, sts) = (spans.only(NAME), spans.only("fetch"), spans.only("STS/AssumeRole"));
    assert_eq!([&call.trace_id, &fetch.trace_id, &sts.trace_id], [TRACE; 3]);
    assert_eq!([&*call.parent_id, &*fetch.parent_id, &*sts.parent_id], [CALLER, &call.span_id, &fetch.span_id]);
    assert!(call.links.is_empty());
    for (name, expected) in
        [("k8s.namespace.name", "team"), ("k8s.pod.name", "a"), ("kiam.pod_ip", "10.0.0.1"), ("kiam.role", "reader")]
    {
        assert_eq!(call.attributes[name], expected, "{name}");
    }
    for span in [&call, &fetch, &sts] {
        assert_eq!((&*span.attributes["kiam.outcome"], span.is_error), ("ok", false));
    }
    for span in [&fetch, &sts] {
        assert_eq!(span.attributes["kiam.role"], READER);
    }
    let shown = format!("{:?}", spans.ended());
    for secret in ["secret-access-key", "session-token", "ASIA"] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_says_which_pod_and_why() {
    let (spans, stand) = (CapturedSpans::start(), Stand::with_reader().await);
    stand.directory.apply_namespace(&namespace("nothing"));
    stand.credentials("10.0.0.1", "reader").await.unwrap_err();
    let call = spans.only(NAME);
    assert_eq!((&*call.attributes["kiam.outcome"], &*call.attributes["k8s.pod.name"]), ("Forbidden", "a"));
    assert!(!call.is_error);
}

#[tokio::test(start_paused = true)]
async fn what_sts_refuses_is_told_by_its_kind() {
    let (spans, stand) = (CapturedSpans::start(), Stand::with_reader().await);
    stand.sts.refuse(READER, "AccessDenied");
    stand.directory.apply_pod(&pod("b", "10.0.0.2", Some("reader")));
    stand.credentials("10.0.0.2", "reader").await.unwrap_err();
    for name in ["fetch", "STS/AssumeRole"] {
        let span = spans.only(name);
        assert_eq!((&*span.attributes["kiam.outcome"], span.is_error), ("refused", true), "{name}");
    }
}
