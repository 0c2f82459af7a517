//! Keeps the ledger supplied: holds one stream to one server, and moves to another when that one is lost, ends or asks
//! for it. Run by `app.rs`.
//!
//! What must always hold: as long as a stream may last, it does until another's snapshot is in effect; agents do not
//! move all at once; and where no server has streams, requests are calls and nothing else changes.

mod report;
mod session;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::pending;
use kiam_common::shutdown::Shutdown;
use tokio::time::{sleep, timeout};

pub(crate) use self::report::Reporter;
use self::session::{End, Session};
use super::endpoint::Endpoint;
use super::endpoints::Endpoints;
use super::metrics::StreamMetrics;

/// Agents that lose the same server spread over this time.
const SPREAD: Duration = Duration::from_millis(80);
/// The first pause after every server was asked in vain, doubled each time.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// The longest.
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// The pause while all servers are Kiam v4's.
const PAUSE_UNIMPLEMENTED: Duration = Duration::from_mins(1);

/// Keeps the ledger supplied.
pub(crate) struct Supplier {
    /// The servers.
    pub(crate) endpoints: Arc<Endpoints>,
    /// What they are told; its ledger is the one to supply.
    pub(crate) reporter: Arc<Reporter>,
    /// Counts.
    pub(crate) metrics: StreamMetrics,
}

/// Why no server gave a stream.
enum NoStream {
    /// All that answered are Kiam v4's.
    Unimplemented,
    Failed,
}

impl Supplier {
    /// Supplies until shutdown.
    pub(crate) async fn keep_supplied(self, shutdown: Shutdown) {
        tokio::select! {
            () = self.supply() => {}
            () = shutdown.begun() => {}
        }
    }

    async fn supply(&self) {
        let mut session = self.open(None).await;
        loop {
            let (endpoint, address) = (session.endpoint.clone(), session.endpoint.address());
            tracing::info!(%address, "a server supplies this node");
            let end = tokio::select! {
                end = session.follow(&self.reporter.ledger) => end,
                () = self.endpoints.retired(&endpoint) => End::Replaced,
            };
            self.metrics.moved(end.why());
            tracing::info!(%address, why = end.why().label(), "moving to another server: {end}");
            session = if end.leaves_time() {
                self.open_beside(session).await
            } else {
                self.reporter.ledger.lost();
                self.endpoints.failed(&endpoint);
                self.open(Some(endpoint)).await
            };
        }
    }

    /// Opens a stream to another server while the one to leave goes on supplying.
    async fn open_beside(&self, mut leaving: Session) -> Session {
        let left = leaving.endpoint.clone();
        let meanwhile = async {
            while leaving.follow(&self.reporter.ledger).await.leaves_time() {}
            self.reporter.ledger.lost();
            pending().await
        };
        tokio::select! {
            biased;
            session = self.open(Some(left)) => session,
            session = meanwhile => session,
        }
    }

    /// Opens a stream, to the server that was left if there is no other. Goes on until there is one.
    async fn open(&self, left: Option<Arc<Endpoint>>) -> Session {
        if left.is_some() {
            sleep(SPREAD.mul_f64(fastrand::f64())).await;
        }
        let mut changes = self.endpoints.changes();
        let mut pause = PAUSE_MIN;
        loop {
            changes.borrow_and_update();
            let wait = match self.round(left.as_ref()).await {
                Ok(session) => return session,
                Err(NoStream::Unimplemented) => PAUSE_UNIMPLEMENTED,
                Err(NoStream::Failed) => pause.mul_f64(0.5 + fastrand::f64() / 2.0),
            };
            pause = PAUSE_MAX.min(pause * 2);
            // Whether it was the time or a change of addresses that ended the wait, it is time to ask again.
            let _why = timeout(wait, changes.changed()).await;
        }
    }

    /// Asks every server once.
    async fn round(&self, left: Option<&Arc<Endpoint>>) -> Result<Session, NoStream> {
        let mut endpoints = self.endpoints.in_turn();
        endpoints.sort_by_key(|endpoint| left.is_some_and(|left| left.address() == endpoint.address()));
        let mut outcome = NoStream::Failed;
        for endpoint in endpoints {
            let address = endpoint.address();
            match Session::open(endpoint.clone(), self.reporter.clone(), self.metrics.clone()).await {
                Ok(session) => {
                    self.endpoints.answered(&endpoint);
                    return Ok(session);
                }
                Err(End::Unimplemented) => {
                    self.endpoints.answered(&endpoint);
                    outcome = NoStream::Unimplemented;
                }
                Err(end) => {
                    self.endpoints.failed(&endpoint);
                    tracing::debug!(%address, "no stream: {end}");
                }
            }
        }
        Err(outcome)
    }
}

#[cfg(test)]
mod tests;
