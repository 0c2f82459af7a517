//! One role identity in the vault: the credentials held, when to renew them, and the AssumeRole call under way.
//!
//! What must always hold: expired credentials are never given out, held ones are given out until they expire
//! whatever becomes of their renewal, and there is at most one call under way.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use kiam_common::credentials::Credentials;

use super::flight::Flight;

/// The place of one role identity.
#[derive(Debug, Default)]
pub(super) struct Entry {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    credentials: Option<Arc<Credentials>>,
    /// When to call STS next, unless somebody needs to before.
    renew_at: Option<Timestamp>,
    /// Failed calls since the last one that succeeded.
    failures: u32,
    flight: Option<Flight>,
}

/// What an entry has for those who ask.
#[derive(Debug)]
pub(super) enum Look {
    /// Credentials that have not expired.
    Held(Arc<Credentials>),
    /// Nothing yet; the call under way will tell.
    Awaited(Flight),
}

impl Entry {
    /// Looks for credentials. Calls `launch` if they are due and nobody is fetching them already.
    pub(super) fn look(&self, now: Timestamp, launch: impl FnOnce() -> Flight) -> Look {
        let mut state = self.state();
        match state.held(now) {
            Some(credentials) => {
                if state.is_due(now) {
                    state.flight = Some(launch());
                }
                Look::Held(credentials)
            }
            None => Look::Awaited(state.join_or(launch)),
        }
    }

    /// Whether it is time to call STS and nobody does.
    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        self.state().is_due(now)
    }

    /// Whether there are credentials that have not expired.
    pub(super) fn holds(&self, now: Timestamp) -> bool {
        self.state().held(now).is_some()
    }

    /// Takes in new credentials.
    pub(super) fn succeeded(&self, credentials: Arc<Credentials>, renew_at: Timestamp) {
        let mut state = self.state();
        state.credentials = Some(credentials);
        state.renew_at = Some(renew_at);
        state.failures = 0;
    }

    /// Notes a failed call; what is held stays. `retry_at` is told how many calls failed in a row.
    pub(super) fn failed(&self, retry_at: impl FnOnce(u32) -> Timestamp) {
        let mut state = self.state();
        state.failures = state.failures.saturating_add(1);
        state.renew_at = Some(retry_at(state.failures));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn held(&self, now: Timestamp) -> Option<Arc<Credentials>> {
        self.credentials.as_ref().filter(|credentials| credentials.expiration > now).map(Arc::clone)
    }

    fn is_due(&self, now: Timestamp) -> bool {
        self.under_way().is_none() && self.renew_at.is_none_or(|renew_at| renew_at <= now)
    }

    fn under_way(&self) -> Option<&Flight> {
        self.flight.as_ref().filter(|flight| !flight.is_over())
    }

    fn join_or(&mut self, launch: impl FnOnce() -> Flight) -> Flight {
        if let Some(flight) = self.under_way() {
            return flight.clone();
        }
        self.flight.insert(launch()).clone()
    }
}
