//! Off and on, and a call from one program to the other.

use std::io;
use std::sync::{Arc, Mutex};

use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use serde_json::Value;
use tonic::Status;
use tonic::metadata::MetadataMap;

use super::*;
use crate::reason::{Reason, Refusal};
use crate::testing::CapturedSpans;

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// Keeps what is written.
#[derive(Clone, Default)]
pub(super) struct Written(Arc<Mutex<Vec<u8>>>);

impl Written {
    /// Its lines.
    pub(super) fn lines(&self) -> Vec<String> {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap().lines().map(str::to_owned).collect()
    }
}

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn traceparent(text: &'static str) -> MetadataMap {
    let mut metadata = MetadataMap::new();
    metadata.insert("traceparent", text.parse().unwrap());
    metadata
}

/// The lines that are logged while `log` runs, with spans exported to nobody.
fn traced(json_log: bool, sampler: Sampler, log: impl FnOnce()) -> Vec<String> {
    let (written, provider) = (Written::default(), SdkTracerProvider::builder().with_sampler(sampler).build());
    let (writer, args) = (written.clone(), LogArgs { json_log, level: Level::Info });
    let subscriber = tracing_subscriber::registry().with(spans::layer(&provider));
    let subscriber = subscriber.with(log::layer(&args, move || writer.clone(), Lines::WithIds));
    tracing::dispatcher::with_default(&Dispatch::new(subscriber), log);
    written.lines()
}

#[test]
fn without_a_collector_spans_are_turned_off_where_they_are_made() {
    let off = log::subscriber(&LogArgs { json_log: true, level: Level::Debug }, io::sink);
    tracing::dispatcher::with_default(&off, || {
        let seen = std::cell::Cell::new(0);
        let look = || {
            seen.set(seen.get() + 1);
            seen.get()
        };
        let span = tracing::info_span!(target: SPANS, "span", field = look());
        assert!(span.is_disabled() && span.id().is_none());
        assert_eq!(seen.get(), 0, "not even the fields are looked at");
        // Never: the answer is kept at the place in the code, and nobody is asked again.
        assert!(off.register_callsite(span.metadata().unwrap()).is_never());

        for span in [rpc::calling("GetPodRole", ([127, 0, 0, 1], 1).into()), rpc::answering("x", &traceparent(PARENT))]
        {
            assert!(span.is_disabled());
            let mut metadata = MetadataMap::new();
            span.in_scope(|| rpc::announce(&mut metadata));
            assert!(metadata.is_empty());
        }
    });
}

#[test]
fn lines_within_a_span_carry_its_ids_and_are_otherwise_as_they_were() {
    let log = || {
        tracing::info!(pod = "reader", "before");
        let span = rpc::answering("GetPodRole", &traceparent(PARENT));
        span.in_scope(|| tracing::info!(pod = "reader\nx}", "within"));
    };
    let lines = traced(true, Sampler::AlwaysOn, log);
    let lines: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let keys = |line: &Value| line.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&lines[0]), ["level", "message", "pod", "target", "timestamp"]);
    assert_eq!(keys(&lines[1]), ["level", "message", "pod", "span_id", "target", "timestamp", "trace_id"]);
    assert_eq!((&lines[1]["pod"], &lines[1]["message"]), (&"reader\nx}".into(), &"within".into()));
    assert_eq!(lines[1]["trace_id"], "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(lines[1]["span_id"].as_str().unwrap().len(), 16);
    assert_ne!(lines[1]["span_id"], "b7ad6b7169203331");

    let lines = traced(false, Sampler::AlwaysOn, log);
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].ends_with("before pod=\"reader\"") && !lines[0].contains("trace_id"), "{lines:?}");
    assert!(lines[1].contains(" trace_id=0af7651916cd43dd8448eb211c80319c span_id="), "{lines:?}");
    assert!(!lines[1].contains("answer"), "the span itself is no part of the line: {lines:?}");
}

#[test]
fn lines_carry_ids_of_traces_that_are_not_exported_too() {
    let lines = traced(true, Sampler::AlwaysOff, || {
        rpc::answering("GetPodRole", &traceparent(PARENT)).in_scope(|| tracing::info!("within"));
    });
    assert!(lines[0].contains("0af7651916cd43dd8448eb211c80319c"), "{lines:?}");
}

#[tokio::test]
async fn a_call_is_one_trace_on_both_sides() {
    let spans = CapturedSpans::start();
    let call = async {
        let mut metadata = MetadataMap::new();
        rpc::announce(&mut metadata);
        rpc::within(rpc::answering("GetPodRole", &metadata), async { Ok::<_, Status>(()) }).await
    };
    rpc::within(rpc::calling("GetPodRole", ([10, 0, 0, 9], 9610).into()), call).await.unwrap();
    let [server, client] = &spans.ended()[..] else { panic!("{:?}", spans.ended()) };
    assert_eq!((&server.trace_id, &server.parent_id), (&client.trace_id, &client.span_id));
    for (span, kind) in [(client, "Client"), (server, "Server")] {
        assert_eq!((&*span.name, &*format!("{:?}", span.kind)), ("kiam.KiamService/GetPodRole", kind));
        assert_eq!((&*span.attributes["rpc.grpc.status_code"], &*span.attributes["kiam.outcome"]), ("0", "ok"));
        assert_eq!((&*span.attributes["rpc.system"], &*span.attributes["rpc.method"]), ("grpc", "GetPodRole"));
        assert!(!span.is_error);
    }
    assert_eq!((&*client.attributes["server.address"], &*client.attributes["server.port"]), ("10.0.0.9", "9610"));
}

#[tokio::test]
async fn how_a_call_ended_is_told_and_only_what_does_not_work_is_an_error() {
    let spans = CapturedSpans::start();
    for (reason, is_error) in [(Reason::Forbidden, false), (Reason::PodNotFound, false), (Reason::StsUnavailable, true)]
    {
        let refusal = Refusal { reason, message: "why".into(), aws_code: None };
        let call = async { Err::<(), _>(refusal.to_status()) };
        rpc::within(rpc::answering("GetPodRole", &MetadataMap::new()), call).await.unwrap_err();
        let span = spans.ended().pop().unwrap();
        assert_eq!((&*span.attributes["kiam.outcome"], span.is_error), (reason.as_str(), is_error));
        assert_eq!(span.attributes["rpc.grpc.status_code"], i32::from(reason.grpc_code()).to_string());
    }
    drop(rpc::within(rpc::answering("GetPodRole", &MetadataMap::new()), std::future::pending::<Result<(), _>>()));
    assert!(!spans.ended().pop().unwrap().attributes.contains_key("kiam.outcome"));
}

#[test]
fn a_caller_that_says_nonsense_begins_no_strange_trace() {
    let spans = CapturedSpans::start();
    for nonsense in ["", "00", "00-0-0-01", "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"] {
        drop(rpc::answering("GetPodRole", &traceparent(nonsense)).entered());
        let span = spans.ended().pop().unwrap();
        assert_eq!(span.parent_id, "0000000000000000");
        assert_ne!(span.trace_id, "0af7651916cd43dd8448eb211c80319c");
    }
}

#[test]
fn a_stranger_s_text_is_cut() {
    assert_eq!(short("reader"), "reader");
    assert_eq!(short(&"é".repeat(10_000)), "é".repeat(LONGEST));
}
