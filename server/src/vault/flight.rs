//! One call to STS, with its attempts, shared by all who wait for it. It runs in a task of its own, so that those who
//! hang up take nobody else's answer with them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use kiam_common::clock::Clock;
use kiam_common::credentials::Issued;
use kiam_common::role::RoleIdentity;
use kiam_common::telemetry::SPANS;
use prometheus::HistogramTimer;
use tokio::sync::oneshot;
use tracing::field::Empty;
use tracing::{Instrument as _, Span};

use super::entry::Next;
use super::gate::{Gate, Pass};
use super::landings::Landings;
use super::line::Ticket;
use super::place::{Boarding, Outcome, Place};
use super::rank::Rank;
use super::schedule;
use crate::directory::Directory;
use crate::jitter;
use crate::metrics::VaultMetrics;
use crate::sts::{Session, Sts, StsError};

/// Starts flights.
pub(super) struct Launcher {
    pub(super) sts: Arc<dyn Sts>,
    pub(super) clock: Clock,
    pub(super) directory: Arc<Directory>,
    pub(super) gate: Arc<Gate>,
    pub(super) session_duration: Duration,
    pub(super) session_refresh: Duration,
    pub(super) attempt_timeout: Duration,
    pub(super) metrics: VaultMetrics,
    pub(super) tickets: AtomicU64,
    pub(super) landings: Arc<Landings>,
}

/// A flight under way.
struct Flight {
    launcher: Arc<Launcher>,
    identity: Arc<RoleIdentity>,
    place: Arc<Place>,
    ticket: Ticket,
    /// Credentials are held that this call is to replace.
    is_refresh: bool,
    landing: Option<oneshot::Sender<Outcome>>,
}

/// A place in the line.
struct Queueing {
    turn: oneshot::Receiver<Pass>,
    timer: HistogramTimer,
}

impl Queueing {
    /// Waits for the turn. None only if the gate is gone.
    async fn pass(self) -> Option<Pass> {
        let pass = self.turn.await.ok();
        self.timer.observe_duration();
        pass
    }
}

/// What an attempt brought.
struct Granted {
    issued: Arc<Issued>,
    ends: Timestamp,
}

impl Launcher {
    /// Starts a flight for `identity` that lands at `place`. It is in line when this returns, so that whoever counts the
    /// line counts it.
    pub(super) fn launch(self: &Arc<Self>, identity: &Arc<RoleIdentity>, place: &Arc<Place>, rank: Rank) -> Boarding {
        let ticket = Ticket(self.tickets.fetch_add(1, Ordering::Relaxed));
        let queueing = self.queue(ticket, rank);
        let (landing, landed) = oneshot::channel();
        let (launcher, identity, place) = (Arc::clone(self), Arc::clone(identity), Arc::clone(place));
        // Part of the request that it is for; of none where the server fetches ahead, or renews.
        let span = tracing::info_span!(
            target: SPANS, "fetch", kiam.role = identity.arn.as_str(), kiam.outcome = Empty, otel.status_code = Empty
        );
        let boarding = Boarding::new(ticket, landed, span.id());
        let flying = async move {
            let is_refresh = place.life_left(launcher.clock.now()).is_some();
            Flight { launcher, identity, place, ticket, is_refresh, landing: Some(landing) }.fly(queueing).await;
        };
        tokio::spawn(flying.instrument(span));
        boarding
    }

    fn queue(&self, ticket: Ticket, rank: Rank) -> Queueing {
        Queueing { turn: self.gate.join(ticket, rank), timer: self.metrics.queueing() }
    }
}

impl Flight {
    async fn fly(self, mut queueing: Queueing) {
        loop {
            let Some(pass) = queueing.pass().await else { return };
            // In line, the last pod that needs it may have gone.
            if !self.place.is_awaited() && !self.launcher.directory.is_wanted(&self.identity) {
                return;
            }
            let attempt = self.attempt().await;
            drop(pass);
            let error = match attempt {
                Ok(granted) => return self.land_with(granted),
                Err(error) => error,
            };
            match self.place.attempt_failed(error.kind, self.launcher.session_duration) {
                Next::AfterFailed(attempts) => {
                    tokio::time::sleep(schedule::attempt_pause(attempts, jitter::fraction())).await;
                }
                Next::Shorter => tracing::warn!(role = %self.identity.arn,
                    "STS does not give sessions of {:?}, asking for one hour: {error}", self.launcher.session_duration),
                Next::GiveUp => return self.land_without(error),
            }
            let rank = self.place.rank(self.launcher.clock.now());
            queueing = self.launcher.queue(self.ticket, rank);
        }
    }

    async fn attempt(&self) -> Result<Granted, StsError> {
        let Launcher { sts, clock, metrics, attempt_timeout, .. } = &*self.launcher;
        let duration = self.place.duration(self.launcher.session_duration);
        let asked_at = clock.now();
        let calling = metrics.calling();
        // By the conventions for AWS's SDKs.
        let span = tracing::info_span!(
            target: SPANS, "call", otel.name = "STS/AssumeRole", otel.kind = "client", rpc.system = "aws-api",
            rpc.service = "STS", rpc.method = "AssumeRole", kiam.role = self.identity.arn.as_str(),
            kiam.outcome = Empty, otel.status_code = Empty
        );
        let call = sts.assume_role(&self.identity, duration).instrument(span.clone());
        let call = tokio::time::timeout(*attempt_timeout, call).await;
        drop(calling);
        let late = |_| Err(StsError::unavailable(format!("no answer within {attempt_timeout:?}")));
        let session =
            call.unwrap_or_else(late).and_then(|session| living(session, &self.identity, asked_at, clock.now()));
        metrics.attempted(session.as_ref().err());
        trace(&span, session.as_ref().err());
        session
    }

    fn land_with(mut self, Granted { issued, ends }: Granted) {
        let now = self.launcher.clock.now();
        let renew_at = schedule::renew_at(self.launcher.session_refresh, now, ends, jitter::fraction());
        tracing::debug!(role = %self.identity.arn, session = %self.identity.session_name,
            expiration = %issued.credentials.expiration, %renew_at, "credentials issued");
        self.place.granted(&issued, ends, renew_at);
        self.count(None);
        self.announce(Ok(issued));
    }

    fn land_without(mut self, error: StsError) {
        let now = self.launcher.clock.now();
        let left = self.place.life_left(now);
        tracing::warn!(role = %self.identity.arn, session = %self.identity.session_name,
            kind = error.kind.as_str(), held_for = ?left, "no credentials issued: {error}");
        let error = Arc::new(error);
        self.place.failed(&error, now, |times, left| {
            now.saturating_add(schedule::pause(error.kind, times, left, jitter::fraction())).unwrap_or(now)
        });
        self.count(Some(&error));
        self.announce(Err(error));
    }

    fn count(&self, error: Option<&StsError>) {
        trace(&Span::current(), error);
        if error.is_some() {
            self.launcher.metrics.issuing_errors.inc();
        }
        if self.is_refresh {
            self.launcher.metrics.refreshed(error);
        }
    }

    fn announce(&mut self, outcome: Outcome) {
        self.launcher.landings.note(&self.identity);
        if let Some(landing) = self.landing.take() {
            // Nobody may wait any more.
            let _ = landing.send(outcome);
        }
    }
}

impl Drop for Flight {
    /// However a flight ends, its place is free for another.
    fn drop(&mut self) {
        if self.landing.is_some() {
            self.place.abandoned();
        }
    }
}

/// Says in a span how it ended; never in the words of STS.
fn trace(span: &Span, error: Option<&StsError>) {
    span.record("kiam.outcome", error.map_or("ok", |error| error.kind.as_str()));
    if error.is_some() {
        span.record("otel.status_code", "error");
    }
}

/// When the session ends by our own clock, if it lives at all. Its life is counted from before it was asked for.
fn living(session: Session, identity: &RoleIdentity, asked_at: Timestamp, now: Timestamp) -> Result<Granted, StsError> {
    let ends = asked_at.saturating_add(session.life).unwrap_or(asked_at);
    if ends <= now {
        return Err(StsError::unavailable("the credentials had expired when they were issued"));
    }
    Ok(Granted { issued: Arc::new(Issued::new(session.credentials, &identity.arn)), ends })
}
