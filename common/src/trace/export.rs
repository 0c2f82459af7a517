//! Sends spans to the OpenTelemetry collector that the environment names, by OTLP over gRPC. Started by
//! [`telemetry::init`](crate::telemetry::init).
//!
//! Everything about the collector is read by the OpenTelemetry SDK from its own variables (`OTEL_EXPORTER_OTLP_…`,
//! `OTEL_TRACES_SAMPLER`, `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`). Its batch processor is not used: it has a
//! thread of its own, which in an agent would keep rights that no other thread has, and drops spans uncounted.

use std::env;
use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::SpanExporter as OtlpExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    SdkTracer, SdkTracerProvider, Span, SpanData, SpanExporter as _, SpanProcessor,
};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::counts::SpanCounts;
use crate::rarely::Rarely;
use crate::shutdown::Shutdown;

/// Where the collector is. The second is for traces only.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"];
/// How to speak with it.
const PROTOCOLS: [&str; 2] = ["OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"];
/// The one protocol that is spoken.
const GRPC: &str = "grpc";
/// Spans that wait; what does not fit is dropped and counted.
const QUEUE: usize = 4096;
/// How long the first span waits for others to be sent along.
const GATHER: Duration = Duration::from_millis(500);
/// How long what is left at the end may take.
const FAREWELL: Duration = Duration::from_secs(2);
/// How often it is told that the collector does not answer.
const TELL_EVERY: Duration = Duration::from_mins(1);

/// Why nothing can be exported.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// A protocol that is not spoken.
    #[error("{variable}: {value:?} is not valid: expected grpc")]
    Protocol {
        /// The variable.
        variable: &'static str,
        /// What it says.
        value: String,
    },
    /// The SDK's own words; they name the variable.
    #[error("traces cannot be exported: {0}")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
}

/// The export of spans, or that there is none.
#[derive(Debug, Default)]
pub struct Traces {
    counts: SpanCounts,
    exporting: Option<Exporting>,
}

#[derive(Debug)]
struct Exporting {
    tracer: SdkTracer,
    task: JoinHandle<()>,
    shutdown: Shutdown,
}

impl Traces {
    /// Exports the spans of `program` if the environment says where to. Must be called on a runtime.
    pub fn from_environment(program: &'static str) -> Result<Self, TraceError> {
        let says = |variable: &'static str| env::var(variable).ok().filter(|value| !value.is_empty());
        if says("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"))
            || ENDPOINTS.into_iter().all(|variable| says(variable).is_none())
        {
            return Ok(Self::default());
        }
        for variable in PROTOCOLS {
            if let Some(value) = says(variable).filter(|value| value != GRPC) {
                return Err(TraceError::Protocol { variable, value });
            }
        }
        let exporter = OtlpExporter::builder().with_tonic().build()?;
        let resource = Resource::builder().with_attribute(KeyValue::new("service.version", crate::VERSION));
        let resource = match says("OTEL_SERVICE_NAME") {
            Some(_) => resource.build(),
            None => resource.with_service_name(program).build(),
        };
        Ok(Self::exporting(exporter, resource))
    }

    fn exporting(mut exporter: OtlpExporter, resource: Resource) -> Self {
        exporter.set_resource(&resource);
        let (counts, shutdown) = (SpanCounts::default(), Shutdown::new());
        let (sender, queue) = mpsc::channel(QUEUE);
        let processor = Queue { sender, counts: counts.clone() };
        let provider = SdkTracerProvider::builder().with_span_processor(processor).with_resource(resource).build();
        let task = tokio::spawn(export(exporter, queue, counts.clone(), shutdown.clone()));
        Self { counts, exporting: Some(Exporting { tracer: provider.tracer("kiam"), task, shutdown }) }
    }

    /// What becomes of the spans.
    pub fn counts(&self) -> SpanCounts {
        self.counts.clone()
    }

    /// Makes spans, if they are exported.
    pub(crate) fn tracer(&self) -> Option<SdkTracer> {
        Some(self.exporting.as_ref()?.tracer.clone())
    }

    /// Sends what is left, and waits for that, but not for long.
    pub async fn end(self) {
        if let Some(Exporting { task, shutdown, .. }) = self.exporting {
            shutdown.begin();
            // A collector that does not answer now has lost these.
            let _sent = timeout(FAREWELL, task).await;
        }
    }
}

/// Takes spans that have ended. Never waits.
#[derive(Debug)]
struct Queue {
    sender: mpsc::Sender<SpanData>,
    counts: SpanCounts,
}

impl SpanProcessor for Queue {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if span.span_context.is_sampled() && self.sender.try_send(span).is_err() {
            self.counts.dropped(1);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// Sends spans as they come, those of half a second at a time, until the shutdown and then what is left.
async fn export(exporter: OtlpExporter, mut queue: mpsc::Receiver<SpanData>, counts: SpanCounts, shutdown: Shutdown) {
    let failures_told = Rarely::every(TELL_EVERY);
    let mut is_last = false;
    while !is_last {
        let mut batch = Vec::new();
        tokio::select! {
            () = shutdown.begun() => {}
            span = queue.recv() => batch.extend(span),
        }
        is_last = timeout(GATHER, shutdown.begun()).await.is_ok();
        while let Ok(span) = queue.try_recv() {
            batch.push(span);
        }
        let spans = batch.len();
        if spans == 0 {
            continue;
        }
        match exporter.export(batch).await {
            Ok(()) => counts.exported(spans),
            Err(error) => {
                counts.dropped(spans);
                if failures_told.is_due() {
                    tracing::warn!(spans, "the collector takes no spans: {error}");
                }
            }
        }
    }
}
