//! Traces: spans from a pod's request to the call of STS, joined across both programs by W3C `traceparent` headers and
//! sent to an OpenTelemetry collector by [`export`], if the environment names one.
//!
//! What must always hold: where nothing is exported, a span costs the look at a flag and no memory; no span has a
//! secret in it; and no collector, however slow, is waited for by a request.

pub mod counts;
pub mod export;
mod propagate;

use opentelemetry::trace::TraceContextExt as _;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

pub use propagate::{Carrying, carrying, join};

/// The target of spans. What has another is never exported.
pub(crate) const TARGET: &str = "kiam_trace";

/// A span, not yet begun: give it to [`trace::begin`](begin) or [`trace::join`](join). Its fields are attributes of the
/// exported span; `otel.kind` is `server` or `client` where the other side is another program.
#[macro_export]
macro_rules! span {
    ($name:literal $(, $($fields:tt)*)?) => {
        ::tracing::info_span!(
            target: "kiam_trace",
            $name,
            trace_id = ::tracing::field::Empty,
            span_id = ::tracing::field::Empty,
            error.type = ::tracing::field::Empty,
            otel.status_code = ::tracing::field::Empty,
            $($($fields)*)?
        )
    };
}

/// Begins a span within the one that is current, or a trace. From here on, log lines within it have its ids.
pub fn begin(span: Span) -> Span {
    if !span.is_disabled() {
        let context = span.context();
        let ids = context.span().span_context().clone();
        span.record("trace_id", tracing::field::display(ids.trace_id()));
        span.record("span_id", tracing::field::display(ids.span_id()));
    }
    span
}

/// The current span ended with an error; `reason` is one of a few words.
pub fn failed(reason: &str) {
    let span = Span::current();
    span.record("error.type", reason);
    span.record("otel.status_code", "ERROR");
}

#[cfg(test)]
mod tests;
