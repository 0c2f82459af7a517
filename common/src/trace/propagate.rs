//! How a trace goes from one program to the other: the `traceparent` header of each call.

use http::{HeaderMap, HeaderName, HeaderValue, Request};
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator as _};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tonic::metadata::MetadataMap;
use tower::util::MapRequest;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::begin;

/// A service whose calls carry the current span along.
pub type Carrying<S, B> = MapRequest<S, fn(Request<B>) -> Request<B>>;

/// Makes each call of a service carry the span in which it is made.
pub fn carrying<S, B>(service: S) -> Carrying<S, B> {
    MapRequest::new(service, carry)
}

fn carry<B>(mut request: Request<B>) -> Request<B> {
    let span = Span::current();
    if !span.is_disabled() {
        TraceContextPropagator::new().inject_context(&span.context(), &mut Outgoing(request.headers_mut()));
    }
    request
}

/// Begins a span within the one that a call carries along. What cannot be understood counts as nothing.
pub fn join(span: Span, call: &MetadataMap) -> Span {
    if !span.is_disabled() {
        let caller = TraceContextPropagator::new().extract(&Incoming(call));
        if let Err(error) = span.set_parent(caller) {
            tracing::debug!("a span cannot join its caller's trace: {error}");
        }
    }
    begin(span)
}

struct Outgoing<'h>(&'h mut HeaderMap);

impl Injector for Outgoing<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(key), HeaderValue::try_from(value)) {
            self.0.insert(name, value);
        }
    }
}

struct Incoming<'m>(&'m MetadataMap);

impl Extractor for Incoming<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        // Only asked for by propagators that do not know their headers' names.
        Vec::new()
    }
}
