//! Keeping the identity current. The files are read again every second and compared, not watched: that sees
//! Kubernetes swap its symlink, a rename, a copy in place and a network file system alike, survives files that are
//! gone for a moment, and costs three small reads.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::material::{Contents, Material, TlsError};
use super::{Files, Identity};
use crate::clock::Clock;
use crate::shutdown::Shutdown;

impl Identity {
    /// Reads the files again every `every` until `shutdown`. Good material replaces the current; bad never does: it
    /// is warned about once for each different fault, and shows in `…_update_error`.
    pub async fn keep_current(self: Arc<Self>, every: Duration, shutdown: Shutdown) {
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last_fault = None;
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = shutdown.begun() => return,
            }
            let fault = self.refresh().await.err().map(|error| error.to_string());
            if let Some(fault) = fault.as_ref().filter(|fault| last_fault.as_ref() != Some(*fault)) {
                tracing::warn!("{fault}; the certificates read before stay in use");
            }
            last_fault = fault;
        }
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
