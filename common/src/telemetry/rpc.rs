//! The two spans of a gRPC call, the caller's and the server's, and what goes between them: `traceparent` in the metadata,
//! as the W3C's Trace Context has it.

use std::net::SocketAddr;

use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator as _};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tonic::metadata::{MetadataKey, MetadataMap, MetadataValue};
use tonic::{Code, Status};
use tracing::field::Empty;
use tracing::{Instrument as _, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::SPANS;
use crate::reason::Refusal;

/// The service whose calls have spans.
const SERVICE: &str = "kiam.KiamService";

/// The span of a call to a server.
pub fn calling(method: &'static str, server: SocketAddr) -> Span {
    tracing::info_span!(
        target: SPANS, "call", otel.name = %format_args!("{SERVICE}/{method}"), otel.kind = "client",
        otel.status_code = Empty, rpc.system = "grpc", rpc.service = SERVICE, rpc.method = method,
        rpc.grpc.status_code = Empty, server.address = %server.ip(), server.port = i64::from(server.port()),
        kiam.outcome = Empty
    )
}

/// The span of a call that a server answers, which belongs to the trace that the caller says.
pub fn answering(method: &'static str, metadata: &MetadataMap) -> Span {
    let span = tracing::info_span!(
        target: SPANS, "answer", otel.name = %format_args!("{SERVICE}/{method}"), otel.kind = "server",
        otel.status_code = Empty, rpc.system = "grpc", rpc.service = SERVICE, rpc.method = method,
        rpc.grpc.status_code = Empty, client.address = Empty, kiam.pod_ip = Empty, kiam.role = Empty,
        k8s.namespace.name = Empty, k8s.pod.name = Empty, kiam.outcome = Empty
    );
    if !span.is_disabled() {
        // Refused only to a span that has begun already.
        let _new = span.set_parent(TraceContextPropagator::new().extract(&Read(metadata)));
    }
    span
}

/// Says in `metadata` which span the call belongs to: the one that this task is in, if it is in one.
pub fn announce(metadata: &mut MetadataMap) {
    let span = Span::current();
    if !span.is_disabled() {
        TraceContextPropagator::new().inject_context(&span.context(), &mut Write(metadata));
    }
}

/// Makes a call within its span, which then says how the call ended. One that is given up has no outcome.
pub async fn within<T>(span: Span, call: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    let outcome = call.instrument(span.clone()).await;
    if !span.is_disabled() {
        ended(&span, outcome.as_ref().err());
    }
    outcome
}

fn ended(span: &Span, failure: Option<&Status>) {
    let code = failure.map_or(Code::Ok, Status::code);
    span.record("rpc.grpc.status_code", i64::from(i32::from(code)));
    span.record("kiam.outcome", failure.map_or("ok", |status| Refusal::from_status(status).reason.as_str()));
    if is_failure(code) {
        span.record("otel.status_code", "error");
    }
}

/// Whether something does not work. A refusal, and a caller that gives up, are no failure: semantic conventions for gRPC.
fn is_failure(code: Code) -> bool {
    matches!(
        code,
        Code::Unknown
            | Code::DeadlineExceeded
            | Code::Unimplemented
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss
    )
}

struct Read<'m>(&'m MetadataMap);

impl Extractor for Read<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    /// For propagators that do not know their keys; this one does.
    fn keys(&self) -> Vec<&str> {
        Vec::new()
    }
}

struct Write<'m>(&'m mut MetadataMap);

impl Injector for Write<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(key), Ok(value)) = (MetadataKey::from_bytes(key.as_bytes()), MetadataValue::try_from(value)) {
            self.0.insert(key, value);
        }
    }
}
