//! Keeps the ledger supplied: holds one stream to one server, and moves to another when that one is lost, ends or asks
//! for it. Run by `app.rs`.
//!
//! What must always hold: as long as a stream may last, it does until another's snapshot is in effect; agents do not
//! move all at once; and where no server has streams, requests are calls and nothing else changes.

#[cfg(test)]
pub(super) mod fake;
mod report;
mod session;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::pending;
use kiam_common::shutdown::Shutdown;
use tokio::time::{sleep, timeout};

pub(crate) use self::report::Reporter;
use self::session::{End, Session};
use super::endpoints::Endpoints;
use super::metrics::StreamMetrics;
use crate::ledger::Ledger;

/// Agents that lose the same server spread over this time.
const SPREAD: Duration = Duration::from_millis(80);
/// The first pause after every server was asked in vain, doubled each time.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// The longest, and the least that a stream must last for the next one to be opened at once.
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
    /// None answered; how it went with the last of them.
    Unreachable(String),
    /// Some answered, and refused.
    Refused,
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
        let ledger = &self.reporter.ledger;
        let mut session = self.open(None, Duration::ZERO).await;
        loop {
            let (endpoint, address) = (session.endpoint.clone(), session.endpoint.address());
            tracing::info!(%address, "a server supplies this node");
            let end = tokio::select! {
                end = session.follow(ledger) => end,
                () = self.endpoints.retired(&endpoint) => End::Replaced,
            };
            self.metrics.moved(end.why());
            tracing::info!(%address, why = end.why().label(), "moving to another server: {end}");
            let spread = if session.opened.elapsed() < PAUSE_MAX { PAUSE_MAX } else { SPREAD };
            let opening = self.open(Some(address), spread);
            session = if end.leaves_time() {
                tokio::select! {
                    biased;
                    next = opening => next,
                    never = supplied_meanwhile(session, ledger) => match never {},
                }
            } else {
                drop(session);
                ledger.lost();
                self.endpoints.failed(&endpoint);
                opening.await
            };
        }
    }

    /// Opens a stream within a random part of `spread`, or as soon as there is a server after that: another than the one
    /// that was left, unless there is no other.
    async fn open(&self, left: Option<SocketAddr>, spread: Duration) -> Session {
        sleep(spread.mul_f64(fastrand::f64())).await;
        let mut changes = self.endpoints.changes();
        let mut pause = PAUSE_MIN;
        loop {
            changes.borrow_and_update();
            let wait = match self.round(left).await {
                Ok(session) => return session,
                Err(NoStream::Unimplemented) => PAUSE_UNIMPLEMENTED,
                Err(NoStream::Refused) => jittered(pause),
                Err(NoStream::Unreachable(why)) => {
                    self.endpoints.all_failed(&why);
                    jittered(pause)
                }
            };
            pause = PAUSE_MAX.min(pause * 2);
            // Whether it was the time or a change of addresses that ended the wait, it is time to ask again.
            let _why = timeout(wait, changes.changed()).await;
        }
    }

    /// Asks every server once.
    async fn round(&self, left: Option<SocketAddr>) -> Result<Session, NoStream> {
        let mut endpoints = self.endpoints.in_turn();
        endpoints.sort_by_key(|endpoint| left == Some(endpoint.address()));
        let mut outcome = NoStream::Unreachable("no address is known".into());
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
                    outcome = match (outcome, &end) {
                        (NoStream::Unreachable(_), End::Unreachable(_)) => NoStream::Unreachable(end.to_string()),
                        (NoStream::Unreachable(_), _) => NoStream::Refused,
                        (known, _) => known,
                    };
                }
            }
        }
        Err(outcome)
    }
}

/// Up to half less, so that agents do not come all at once.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(0.5 + fastrand::f64() / 2.0)
}

/// Lets a stream that is to be left go on until the next one is there.
async fn supplied_meanwhile(mut leaving: Session, ledger: &Ledger) -> Infallible {
    while leaving.follow(ledger).await.leaves_time() {}
    drop(leaving);
    ledger.lost();
    pending().await
}

#[cfg(test)]
mod tests;
