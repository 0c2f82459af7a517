//! From `tracing` spans to those of OpenTelemetry.

use opentelemetry::Context;
use opentelemetry::trace::{SpanId, TraceContextExt as _, TraceId, TracerProvider as _};
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::Layer;
use tracing_subscriber::registry::LookupSpan;

use super::SPANS;

/// What made the spans, as collectors show it.
const SCOPE: &str = "kiam-rs";

/// The layer that turns the spans of [`SPANS`], and nothing else, into the provider's. No event is part of one: what is said
/// is in the log, with the ids.
pub(crate) fn layer<S>(provider: &SdkTracerProvider) -> impl Layer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer(SCOPE));
    let layer = layer.with_location(false).with_threads(false).with_target(false).with_tracked_inactivity(false);
    layer.with_filter(Targets::new().with_target(SPANS, LevelFilter::INFO))
}

/// The ids of the span that this thread is in, if it is in one.
pub(super) fn current_ids() -> Option<(TraceId, SpanId)> {
    Context::map_current(|context| {
        let span = context.span();
        let ids = span.span_context();
        ids.is_valid().then(|| (ids.trace_id(), ids.span_id()))
    })
}
