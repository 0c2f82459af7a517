//! What `/metrics` tells of the identity, read at each scrape.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::Timestamp;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntGauge, Opts};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls_pki_types::UnixTime;

use super::Identity;
use super::material::Material;
use crate::clock::Clock;
use crate::registry::Registry;

/// Which end of the connections the program is: the server is one, the agent the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Accepts connections: `grpc_server_…`.
    Server,
    /// Opens connections: `grpc_client_…`.
    Client,
}

impl Side {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Client => "client",
        }
    }
}

impl Identity {
    /// Registers `grpc_{server,client}_tls_certificate_{expiry_seconds,update_error,verify_error}`.
    pub fn register(self: &Arc<Self>, registry: &Registry, side: Side, clock: &Clock) -> Result<(), prometheus::Error> {
        let prefix = format!("grpc_{}", side.as_str());
        let verify_error =
            gauge(&prefix, "verify_error", "1 if the certificate in use does not verify by its own --ca.")?;
        let verified = Verified { side, clock: clock.clone(), error: verify_error };
        registry.register(Box::new(CertificateMetrics::new(self, &prefix, "gRPC", Some(verified))?))
    }

    /// Registers `kiam_metrics_tls_certificate_{expiry_seconds,update_error}`, of the status listener. Whom its clients
    /// trust is not known here.
    pub(crate) fn register_status(self: &Arc<Self>, registry: &Registry) -> Result<(), prometheus::Error> {
        registry.register(Box::new(CertificateMetrics::new(self, "kiam_metrics", "status listener's", None)?))
    }
}

fn gauge(prefix: &str, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
    IntGauge::with_opts(Opts::new(format!("{prefix}_tls_certificate_{name}"), help))
}

struct CertificateMetrics {
    identity: Arc<Identity>,
    expiry: IntGauge,
    update_error: IntGauge,
    verified: Option<Verified>,
}

/// Whether the other side would take the certificate.
struct Verified {
    side: Side,
    clock: Clock,
    error: IntGauge,
}

impl CertificateMetrics {
    fn new(
        identity: &Arc<Identity>,
        prefix: &str,
        whose: &str,
        verified: Option<Verified>,
    ) -> Result<Self, prometheus::Error> {
        let expiry = format!("When the {whose} certificate ends, in seconds since the Unix epoch.");
        let update_error = format!("1 if the {whose} certificate files, as last read, could not be used.");
        Ok(Self {
            identity: Arc::clone(identity),
            expiry: gauge(prefix, "expiry_seconds", &expiry)?,
            update_error: gauge(prefix, "update_error", &update_error)?,
            verified,
        })
    }

    fn gauges(&self) -> impl Iterator<Item = &IntGauge> {
        [&self.expiry, &self.update_error].into_iter().chain(self.verified.iter().map(|verified| &verified.error))
    }
}

impl Collector for CertificateMetrics {
    fn desc(&self) -> Vec<&Desc> {
        self.gauges().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let material = self.identity.current.load();
        self.expiry.set(material.expires.as_second());
        self.update_error.set(self.identity.update_failed.load(Ordering::Relaxed).into());
        if let Some(Verified { side, clock, error }) = &self.verified {
            error.set(verify(&material, *side, clock.now()).is_err().into());
        }
        self.gauges().flat_map(Collector::collect).collect()
    }
}

/// Whether the other side, trusting the same authorities, would take the certificate now, but for its names.
pub(super) fn verify(material: &Material, side: Side, now: Timestamp) -> Result<(), rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let (leaf, intermediates) = material.chain.split_first().ok_or(rustls::Error::NoCertificatesPresented)?;
    let now = UnixTime::since_unix_epoch(Duration::try_from(now.as_duration()).unwrap_or_default());
    match side {
        Side::Server => verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(leaf)?,
            &material.roots,
            intermediates,
            now,
            provider.signature_verification_algorithms.all,
        ),
        Side::Client => WebPkiClientVerifier::builder_with_provider(material.roots.clone(), provider)
            .build()
            .map_err(|error| rustls::Error::General(error.to_string()))?
            .verify_client_cert(leaf, intermediates, now)
            .map(drop),
    }
}
