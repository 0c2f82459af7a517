//! How long a connection lasts, between the task that drives it and the streams on it, which may last as long.

use tokio_util::sync::CancellationToken;

/// The life of one connection. Clones are of the same one.
#[derive(Clone, Debug, Default)]
pub(super) struct Lifetime {
    old: CancellationToken,
    cut: CancellationToken,
}

impl Lifetime {
    /// The connection will end as soon as its streams have.
    pub(super) fn grow_old(&self) {
        self.old.cancel();
    }

    /// Waits until streams had better move to another connection.
    pub(super) async fn grown_old(&self) {
        self.old.cancelled().await;
    }

    /// Ends the connection, whatever is under way: its peer does not take what it is sent.
    pub(super) fn cut(&self) {
        self.cut.cancel();
    }

    /// Waits until somebody has cut it.
    pub(super) async fn is_cut(&self) {
        self.cut.cancelled().await;
    }
}
