//! The place of a role identity in the vault: its [`Entry`] behind a lock, and the flight that calls STS for it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::Shared;
use jiff::Timestamp;
use kiam_common::credentials::Issued;
use tokio::sync::oneshot;
use tracing::span;

use super::entry::{Answer, Entry, Next, Stage, Standing, Supply};
use super::line::Ticket;
use super::rank::Rank;
use crate::sts::{StsError, StsErrorKind};

/// How a flight ends, for everyone who waits for it.
pub type Outcome = Result<Arc<Issued>, Arc<StsError>>;

/// A flight, for those who wait for it.
#[derive(Clone, Debug)]
pub(super) struct Boarding {
    pub(super) ticket: Ticket,
    /// Its span, if it has one.
    pub(super) span: Option<span::Id>,
    landing: Shared<oneshot::Receiver<Outcome>>,
}

impl Boarding {
    /// Of the flight with this ticket and this span, which will send its outcome.
    pub(super) fn new(ticket: Ticket, landing: oneshot::Receiver<Outcome>, span: Option<span::Id>) -> Self {
        Self { ticket, span, landing: landing.shared() }
    }

    /// Waits for the outcome.
    pub(super) async fn outcome(self) -> Outcome {
        self.landing.await.unwrap_or_else(|_| Err(Arc::new(StsError::unavailable("the call was abandoned"))))
    }
}

/// What there is for somebody who asks.
#[derive(Debug)]
pub(super) enum Look {
    /// Credentials that have not expired.
    Held(Arc<Issued>),
    /// STS failed a moment ago.
    Failed(Arc<StsError>),
    /// A flight will tell.
    Awaited(Boarding),
}

/// The place of one role identity.
#[derive(Debug, Default)]
pub(super) struct Place(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    entry: Entry,
    /// The last flight that began.
    flight: Option<Boarding>,
}

impl Place {
    /// Looks for credentials on behalf of somebody who waits. Calls `launch` if there is nothing, not even a flight.
    pub(super) fn look(&self, now: Timestamp, launch: impl FnOnce(Rank) -> Boarding) -> Look {
        let mut state = self.state();
        match state.entry.answer(now) {
            Answer::Held(issued) => {
                if state.entry.is_due(now) {
                    state.entry.begin();
                    state.launch(now, launch);
                }
                Look::Held(issued)
            }
            Answer::Failed(error) => Look::Failed(error),
            Answer::Await => {
                let under_way = state.flight.clone().filter(|_| !state.entry.is_due(now));
                if under_way.is_none() {
                    state.entry.begin();
                }
                state.entry.wait();
                Look::Awaited(under_way.unwrap_or_else(|| state.launch(now, launch)))
            }
        }
    }

    /// What there is for those who are supplied before they ask.
    pub(super) fn supply(&self, now: Timestamp) -> Supply {
        self.state().entry.supply(now)
    }

    /// What is known, for people.
    pub(super) fn standing(&self, now: Timestamp) -> Standing {
        self.state().entry.standing(now)
    }

    /// Whether it is time to call STS.
    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        self.state().entry.is_due(now)
    }

    /// Calls `launch` if it is time to call STS, and worth it although nobody waits.
    pub(super) fn renew(&self, now: Timestamp, launch: impl FnOnce(Rank) -> Boarding) {
        let mut state = self.state();
        if state.entry.is_due(now) && state.entry.is_worth_asking(now) {
            state.entry.begin();
            state.launch(now, launch);
        }
    }

    /// Who goes before the flight under way, and whom it goes before.
    pub(super) fn rank(&self, now: Timestamp) -> Rank {
        self.state().rank(now)
    }

    /// The flight under way and its rank.
    pub(super) fn under_way(&self, now: Timestamp) -> Option<(Ticket, Rank)> {
        let state = self.state();
        Some((state.flight.as_ref()?.ticket, state.entry.rank(now)?))
    }

    /// Whether somebody waits for the flight.
    pub(super) fn is_awaited(&self) -> bool {
        self.state().entry.is_awaited()
    }

    /// How long a session to ask for.
    pub(super) fn duration(&self, configured: Duration) -> Duration {
        self.state().entry.duration(configured)
    }

    /// An attempt of the flight failed.
    pub(super) fn attempt_failed(&self, kind: StsErrorKind, configured: Duration) -> Next {
        self.state().entry.attempt_failed(kind, configured)
    }

    /// The flight brought credentials.
    pub(super) fn granted(&self, issued: &Arc<Issued>, ends: Timestamp, renew_at: Timestamp) {
        self.state().entry.granted(Arc::clone(issued), ends, renew_at);
    }

    /// The flight failed.
    pub(super) fn failed(
        &self,
        error: &Arc<StsError>,
        now: Timestamp,
        until: impl FnOnce(u32, Option<Duration>) -> Timestamp,
    ) {
        self.state().entry.failed(Arc::clone(error), now, until);
    }

    /// The flight ended without having asked STS.
    pub(super) fn abandoned(&self) {
        self.state().entry.abandoned();
    }

    /// What failed is worth asking again.
    pub(super) fn forget_failure(&self) {
        self.state().entry.forget_failure();
    }

    /// Nobody will look here any more, but those who wait for the flight.
    pub(super) fn let_go(&self) {
        self.state().entry.let_go();
    }

    /// The state, for metrics.
    pub(super) fn stage(&self, now: Timestamp) -> Stage {
        self.state().entry.stage(now)
    }

    /// How long what is held still lives.
    pub(super) fn life_left(&self, now: Timestamp) -> Option<Duration> {
        self.state().entry.life_left(now)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Starts the flight of a call that has begun.
    fn launch(&mut self, now: Timestamp, launch: impl FnOnce(Rank) -> Boarding) -> Boarding {
        let rank = self.rank(now);
        self.flight.insert(launch(rank)).clone()
    }

    fn rank(&self, now: Timestamp) -> Rank {
        self.entry.rank(now).unwrap_or(Rank::Refresh)
    }
}
