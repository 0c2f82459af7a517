//! The gRPC identity and trust of a program: a certificate chain, its key, and the authorities that the other side
//! must chain to, from three PEM files. Mutual TLS is always on; there is no other way to reach or be a server. The status
//! listener may have an identity of its own, kept current in the same way.
//!
//! What always holds: there is good material. What is read later replaces it only as a whole and only if it is good,
//! and then the whole TLS configuration with it: a verifier swapped inside an old configuration would let a client
//! of a removed authority resume its session.

mod accept;
mod caller;
mod files;
mod material;
mod metrics;
mod reload;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use rustls_pki_types::CertificateDer;
use tokio::sync::watch;

pub use accept::accept;
pub(crate) use accept::handshake;
pub use caller::{has_name, is_for};
pub use files::Files;
pub use material::TlsError;
pub(crate) use material::read_authorities;
pub use metrics::Side;

use material::Material;

/// Makes ring the process's provider of cryptography. First thing in `main`; again changes nothing.
pub fn install_crypto_provider() {
    let _already_installed = rustls::crypto::ring::default_provider().install_default();
}

/// The current identity and trust. Shared by everything that accepts or opens connections.
pub struct Identity {
    files: Files,
    current: ArcSwap<Material>,
    generation: watch::Sender<u64>,
    update_failed: AtomicBool,
}

impl Identity {
    /// Reads the files; an error names the file, its flag and what was expected.
    pub async fn load(files: impl Into<Files>) -> Result<Arc<Self>, TlsError> {
        let files = files.into();
        let material = Material::read(&files).await?;
        reload::warn_if_expired(&files, &material);
        Ok(Arc::new(Self {
            files,
            current: ArcSwap::from_pointee(material),
            generation: watch::Sender::new(0),
            update_failed: AtomicBool::new(false),
        }))
    }

    /// For the next connection to accept: asks for a client certificate that chains to the file of authorities, if there
    /// is one. Nothing but the identity's own protocol: HTTP/2 for gRPC.
    pub fn server_config(&self) -> Arc<rustls::ServerConfig> {
        self.current.load().server.clone()
    }

    /// Whether clients are asked for a certificate at all: always for gRPC.
    pub fn asks_clients(&self) -> bool {
        self.files.asks_clients()
    }

    /// For the next connection to open: shows the certificate, trusts that file alone. Likewise.
    pub fn client_config(&self) -> Arc<rustls::ClientConfig> {
        self.current.load().client.clone()
    }

    /// A key for `purpose` that only who holds this private key can make: the same after a restart, another after the
    /// private key is replaced and the program started again.
    pub fn derive_key(&self, purpose: &str) -> [u8; 32] {
        self.current.load().contents.derive_key(purpose)
    }

    /// When the certificate ends, or one that it chains to: seconds since 1970, UTC.
    pub fn not_after(&self) -> i64 {
        self.current.load().expires.as_second()
    }

    /// Whether this is the program's own certificate: who shows it on a connection has its private key.
    pub fn is_own(&self, certificate: &CertificateDer<'_>) -> bool {
        self.current.load().chain.first() == Some(certificate)
    }

    /// Whether the other side, trusting the same authorities, would take the certificate now, but for its names; or why
    /// not.
    pub fn verify(&self, side: Side, now: Timestamp) -> Result<(), String> {
        metrics::verify(&self.current.load(), side, now).map_err(|error| error.to_string())
    }

    /// Counts the reloads. Connections that were made before a change go on with what they have; who holds some for
    /// long watches this to replace them.
    pub fn generation(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("files", &self.files).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
