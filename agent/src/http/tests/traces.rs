//! The span of a request, and that nothing is in it that should not be.

use kiam_common::testing::{CapturedSpans, EndedSpan};

use super::*;
use crate::ledger::fake::{bind, grant, snapshot};

const ROUTE: &str = "/{version}/meta-data/iam/security-credentials/{role}";

fn attribute<'s>(span: &'s EndedSpan, name: &str) -> Option<&'s str> {
    span.attributes.get(name).map(String::as_str)
}

/// The span of the last request.
fn last(spans: &CapturedSpans) -> EndedSpan {
    spans.ended().pop().unwrap()
}

#[tokio::test]
async fn a_request_is_a_span_that_says_who_asked_for_what_and_what_came_of_it() {
    let (spans, stand) = (CapturedSpans::start(), Stand::new().await);
    stand.get(&format!("{LIST}reader")).await;
    let span = last(&spans);
    assert_eq!((span.name.as_str(), format!("{:?}", span.kind)), (&*format!("GET {ROUTE}"), "Server".into()));
    for (name, expected) in [
        ("http.request.method", "GET"),
        ("http.route", ROUTE),
        ("http.response.status_code", "200"),
        ("client.address", POD),
        ("kiam.role", "reader"),
        ("kiam.outcome", "ok"),
    ] {
        assert_eq!(attribute(&span, name), Some(expected), "{name}");
    }
    assert!(!span.is_error && attribute(&span, "error.type").is_none());
    assert_eq!(attribute(&span, "k8s.pod.name"), None, "nobody has told the agent of the pod");

    let pod: IpAddr = POD.parse().unwrap();
    stand.ledger.replace(snapshot([bind(pod, "u", 1), grant(1, "document", Duration::from_hours(1))]));
    stand.get(&format!("{LIST}reader")).await;
    let span = last(&spans);
    assert_eq!(
        (attribute(&span, "k8s.namespace.name"), attribute(&span, "k8s.pod.name")),
        (Some("team"), Some("pod-u"))
    );
}

#[tokio::test]
async fn a_refusal_is_told_by_its_code_and_is_an_error_only_if_something_does_not_work() {
    let (spans, stand) = (CapturedSpans::start(), Stand::new().await);
    stand.get(&format!("{LIST}other")).await;
    let span = last(&spans);
    assert_eq!((attribute(&span, "kiam.outcome"), span.is_error), (Some("Forbidden"), false));
    stand.server.set(POD, Pod::Refused(refusal(Reason::StsUnavailable)));
    stand.get(&format!("{LIST}reader")).await;
    let span = last(&spans);
    assert_eq!((attribute(&span, "kiam.outcome"), span.is_error), (Some("StsUnavailable"), true));
    assert_eq!(attribute(&span, "error.type"), Some("StsUnavailable"));
    assert_eq!(attribute(&span, "http.response.status_code"), Some("503"));
}

#[tokio::test]
async fn names_and_routes_are_few_whatever_pods_ask_for() {
    let (spans, stand) = (CapturedSpans::start(), Stand::new().await);
    for (method, target, name) in [
        ("GET", "/ping", "GET /ping"),
        ("GET", "/health", "GET /health"),
        ("PUT", "/latest/api/token", "PUT /{version}/api/token"),
        ("PUT", "/stranger/api/token", "PUT /{version}/api/token"),
        ("HEAD", LIST, "HEAD /{version}/meta-data/iam/security-credentials/"),
        ("GET", LIST.trim_end_matches('/'), "GET /{version}/meta-data/iam/security-credentials"),
        (
            "GET",
            "/stranger/meta-data/iam/security-credentials-extended/reader",
            "GET /{version}/meta-data/iam/security-credentials-extended/{role}",
        ),
        ("GET", "/stranger/nonsense?stranger", "GET"),
        ("GET", "/stranger/user-data", "GET"),
        ("GET", "/stranger/iam", "GET"),
        ("POST", "/stranger", "POST"),
        ("STRANGER", "/stranger", "HTTP"),
        ("GET", "/stranger//malformed", "GET"),
    ] {
        stand.ask(POD, method.parse().unwrap(), target, &[("user-agent", "stranger")]).await;
        assert_eq!(last(&spans).name, name, "{method} {target}");
    }
    let shown = format!("{:?}", spans.ended());
    assert!(!shown.to_lowercase().contains("stranger"), "{shown}");
}

#[tokio::test]
async fn a_role_that_is_very_long_is_cut() {
    let (spans, stand) = (CapturedSpans::start(), Stand::new().await);
    stand.get(&format!("{LIST}{}", "x".repeat(10_000))).await;
    assert_eq!(attribute(&last(&spans), "kiam.role").unwrap().len(), 256);
}

#[tokio::test]
async fn pods_do_not_choose_who_is_traced() {
    let (spans, stand) = (CapturedSpans::start(), Stand::new().await);
    let theirs = ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    stand.ask(POD, Method::GET, LIST, &[theirs]).await;
    assert!(!format!("{:?}", spans.ended()).contains("0af7651916cd43dd8448eb211c80319c"));
}

#[tokio::test]
async fn no_secret_is_in_a_span() {
    let (spans, stand) = (CapturedSpans::start(), Stand::new().await);
    let token = stand.put_token(POD, &[("x-aws-ec2-metadata-token-ttl-seconds", "60")]).await.body;
    let own = ("x-aws-ec2-metadata-token", token.as_str());
    for pod in [POD, OTHER] {
        stand.ask(pod, Method::GET, &format!("{LIST}reader"), &[own]).await;
    }
    assert_eq!(spans.ended().len(), 3);
    let shown = format!("{:?}", spans.ended());
    for secret in [SECRET, SESSION_TOKEN, "ASIAEXAMPLE", &token] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
}
