//! Keeping the identity current with its files.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::material::{Contents, Material, TlsError};
use super::{Files, Identity};
use crate::clock::Clock;
use crate::reread;
use crate::shutdown::Shutdown;

/// How often the files are looked at, which costs three small reads.
const LOOK_EVERY: Duration = Duration::from_secs(1);

impl Identity {
    /// Reads the files again and again until `shutdown`. Good material replaces the current; bad never does: it is
    /// warned about once for each different fault, and shows in `…_update_error`.
    pub async fn keep_current(self: Arc<Self>, shutdown: Shutdown) {
        let meanwhile = "the certificates read before stay in use";
        reread::keep(LOOK_EVERY, shutdown, meanwhile, || self.refresh()).await;
    }

    /// Takes the files over if they have changed and are good.
    pub(super) async fn refresh(&self) -> Result<(), TlsError> {
        let replaced = self.replacement().await;
        self.update_failed.store(replaced.is_err(), Ordering::Relaxed);
        if let Some(material) = replaced? {
            warn_if_expired(&self.files, &material);
            self.current.store(Arc::new(material));
            self.generation.send_modify(|generation| *generation += 1);
            tracing::info!("certificates reloaded from {}", self.files.cert.display());
        }
        Ok(())
    }

    async fn replacement(&self) -> Result<Option<Material>, TlsError> {
        let contents = Contents::read(&self.files).await?;
        if contents == self.current.load().contents {
            return Ok(None);
        }
        Material::parse(&self.files, contents).map(Some)
    }
}

/// An expired certificate is used all the same: the other side says no to it, in words that lead here.
pub(super) fn warn_if_expired(files: &Files, material: &Material) {
    if material.expires <= Clock::system().now() {
        let (flag, cert) = (files.cert_flag(), files.cert.display());
        tracing::warn!("{flag} {cert}: it, or the authority above it, expired {}", material.expires);
    }
}
