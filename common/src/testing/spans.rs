//! The spans of the code under test, kept to be looked at.

#![expect(clippy::panic, reason = "a test that looks for a span that is not there can only stop")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use opentelemetry::trace::{SpanKind, Status};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};
use tracing_subscriber::layer::SubscriberExt as _;

use super::log::Capture;
use crate::telemetry::spans;

/// Every span that ends on this thread, for as long as it lives.
pub struct CapturedSpans {
    ended: Ended,
    _capture: Capture,
}

/// A span that has ended.
#[derive(Clone, Debug)]
pub struct EndedSpan {
    /// Its name.
    pub name: String,
    /// Its trace.
    pub trace_id: String,
    /// Its own id.
    pub span_id: String,
    /// That of the span that it is part of; zeros if it is of none.
    pub parent_id: String,
    /// Whose side it is of.
    pub kind: SpanKind,
    /// The ids of spans that it has to do with.
    pub links: Vec<String>,
    /// Whether something did not work.
    pub is_error: bool,
    /// All else.
    pub attributes: BTreeMap<String, String>,
}

impl CapturedSpans {
    /// Begins to keep them.
    pub fn start() -> Self {
        let ended = Ended::default();
        let provider = SdkTracerProvider::builder().with_simple_exporter(ended.clone()).build();
        let subscriber = tracing_subscriber::registry().with(spans::layer(&provider));
        Self { ended, _capture: Capture::start(subscriber) }
    }

    /// Those that have ended, in that order.
    pub fn ended(&self) -> Vec<EndedSpan> {
        self.ended.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The one of this name.
    ///
    /// # Panics
    /// If there is none, or more than one.
    pub fn only(&self, name: &str) -> EndedSpan {
        let mut named = self.ended().into_iter().filter(|span| span.name == name);
        match (named.next(), named.next()) {
            (Some(span), None) => span,
            _ => panic!("expected one {name} among {:#?}", self.ended()),
        }
    }
}

#[derive(Clone, Debug, Default)]
struct Ended(Arc<Mutex<Vec<EndedSpan>>>);

impl SpanExporter for Ended {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(batch.into_iter().map(EndedSpan::from));
        Ok(())
    }
}

impl From<SpanData> for EndedSpan {
    fn from(span: SpanData) -> Self {
        Self {
            name: span.name.into_owned(),
            trace_id: span.span_context.trace_id().to_string(),
            span_id: span.span_context.span_id().to_string(),
            parent_id: span.parent_span_id.to_string(),
            kind: span.span_kind,
            links: span.links.iter().map(|link| link.span_context.span_id().to_string()).collect(),
            is_error: matches!(span.status, Status::Error { .. }),
            attributes: span.attributes.into_iter().map(|a| (a.key.to_string(), a.value.to_string())).collect(),
        }
    }
}
