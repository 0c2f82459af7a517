//! Spans on their way to the collector: by the SDK's batches, which wait in a queue with an end and leave from a thread of
//! their own. When the queue is full, or the collector is away, spans are lost, and nothing else happens.

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_otlp::tonic_types::transport::{Certificate, ClientTlsConfig};
use opentelemetry_otlp::{ExporterBuildError, WithExportConfig as _, WithTonicConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::resource::{EnvResourceDetector, TelemetryResourceDetector};
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};

use super::settings::{Settings, SettingsError};
use crate::VERSION;
use crate::rarely::Rarely;
use crate::tls::{TlsError, read_authorities};

/// How long a program's end may wait for the last spans to leave.
const LEAVE_WITHIN: Duration = Duration::from_secs(2);
/// How often it is told that spans are lost.
const TELL_EVERY: Duration = Duration::from_mins(10);

/// Why spans cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The environment.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The file of authorities.
    #[error(transparent)]
    Authorities(#[from] TlsError),
    /// The endpoint, or the TLS to it.
    #[error("OTLP: {0}")]
    Exporter(#[from] ExporterBuildError),
    /// There is no thread for it.
    #[error("OTLP: {0}")]
    Thread(#[from] tokio::task::JoinError),
}

/// What exports spans, if anything does.
#[derive(Debug)]
#[must_use = "the last spans leave at `finish`"]
pub struct Exporting(Option<SdkTracerProvider>);

impl Exporting {
    pub(super) fn nothing() -> Self {
        Self(None)
    }

    pub(super) fn by(provider: SdkTracerProvider) -> Self {
        Self(Some(provider))
    }

    /// The program's end: what has not left yet leaves now, or never.
    pub async fn finish(self) {
        if let Some(provider) = self.0 {
            let leaving = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(LEAVE_WITHIN)).await;
            // What is lost was told already, and the end does not depend on it.
            drop(leaving);
        }
    }
}

/// Where spans are made. It connects when there is something to export.
pub(super) async fn provider(settings: &Settings, service: &'static str) -> Result<SdkTracerProvider, ExportError> {
    let mut exporter = opentelemetry_otlp::SpanExporter::builder().with_tonic().with_endpoint(&settings.endpoint);
    if let Some((variable, file)) = &settings.authorities {
        let authorities = Certificate::from_pem(read_authorities(variable, file).await?);
        exporter = exporter.with_tls_config(ClientTlsConfig::new().ca_certificate(authorities));
    }
    let exporter = Telling { exporter: exporter.build()?, told: Rarely::every(TELL_EVERY) };
    let provider = SdkTracerProvider::builder()
        .with_sampler(settings.sampler.clone())
        .with_resource(resource(service, settings.service_name.clone()));
    // The SDK's thread has the rights of the thread that starts it: those of the runtime have none.
    Ok(tokio::task::spawn_blocking(|| provider.with_batch_exporter(exporter).build()).await?)
}

/// Later ones count more: the environment's word is the last.
fn resource(service: &'static str, service_name: Option<String>) -> Resource {
    let resource = Resource::builder_empty()
        .with_service_name(service)
        .with_attribute(KeyValue::new("service.version", VERSION))
        .with_detectors(&[Box::new(TelemetryResourceDetector), Box::new(EnvResourceDetector::new())]);
    match service_name {
        Some(name) => resource.with_service_name(name).build(),
        None => resource.build(),
    }
}

/// Tells, once in a while, that spans are lost; the SDK would tell of each attempt.
#[derive(Debug)]
struct Telling<E> {
    exporter: E,
    told: Rarely,
}

impl<E: SpanExporter> SpanExporter for Telling<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let (spans, outcome) = (batch.len(), self.exporter.export(batch).await);
        if let Err(error) = &outcome
            && self.told.is_due()
        {
            tracing::warn!(spans, "spans are lost: {error}");
        }
        outcome
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_sdk::error::OTelSdkError;

    use super::*;
    use crate::testing::CapturedLog;

    #[derive(Debug)]
    struct Away;

    impl SpanExporter for Away {
        async fn export(&self, _: Vec<SpanData>) -> OTelSdkResult {
            Err(OTelSdkError::InternalFailure("connection refused".into()))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn that_the_collector_is_away_is_told_once_in_a_while() {
        let log = CapturedLog::start();
        let exporter = Telling { exporter: Away, told: Rarely::every(TELL_EVERY) };
        let told = || log.text().matches("spans are lost").count();
        for expected in 1..=2 {
            for _ in 0..100 {
                assert!(exporter.export(Vec::new()).await.is_err());
            }
            assert_eq!(told(), expected, "{}", log.text());
            tokio::time::advance(TELL_EVERY).await;
        }
        assert!(log.text().contains("connection refused"));
    }
}
