//! The end of a program: asked for once, heard by everyone.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Tells every part of a program that it should finish. Clones are the same shutdown.
#[derive(Clone, Debug, Default)]
pub struct Shutdown(CancellationToken);

impl Shutdown {
    /// A shutdown that nobody has asked for yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks every part to finish. Asking again changes nothing.
    pub fn begin(&self) {
        self.0.cancel();
    }

    /// Whether it was asked for.
    pub fn has_begun(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Waits until it is asked for.
    pub async fn begun(&self) {
        self.0.cancelled().await;
    }

    /// Waits for SIGTERM or SIGINT, then begins; returns early if something else began it.
    pub async fn begin_on_signal(&self) -> std::io::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        tokio::select! {
            _ = terminate.recv() => tracing::info!("SIGTERM: draining"),
            _ = interrupt.recv() => tracing::info!("SIGINT: draining"),
            () = self.begun() => {}
        }
        self.begin();
        Ok(())
    }
}
