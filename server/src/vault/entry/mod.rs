//! One role identity in the vault, as a plain state machine: what is held, whether a call is under way, what failed.
//!
//! ```text
//! absent ─► fetching ─► fresh ─► refreshing ─► fresh …
//!               │                    └─► stale ─► refreshing … ─► expired ─► fetching …
//!               └─► refused, failed ─► fetching …
//! ```
//!
//! It knows no task and no clock: [`super::place`] gives it the time and runs the calls. What must always hold: expired
//! credentials are never given out; held ones are given out until they expire, whatever becomes of their renewal; one
//! call at a time; a failure keeps everybody from calling STS again for a while, and from nothing else.

#[cfg(test)]
mod histories;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kiam_common::credentials::Issued;

use super::rank::Rank;
use crate::sts::{StsError, StsErrorKind};

/// With less life than this a renewal overtakes the fetches ahead of anybody's need.
const URGENT: Duration = Duration::from_mins(5);
/// How often a call for somebody who waits is attempted.
const ATTEMPTS: u32 = 3;
/// What every role and every caller may have, whatever their own maximum.
const ALWAYS_GRANTED: Duration = Duration::from_hours(1);

/// What is known of one role identity.
#[derive(Debug, Default)]
pub(super) struct Entry {
    held: Option<Held>,
    call: Option<Call>,
    failure: Option<Failure>,
    /// STS would not give the configured length; it gives an hour.
    shortened: bool,
}

/// Credentials, and their times by the vault's own clock.
#[derive(Debug)]
struct Held {
    issued: Arc<Issued>,
    ends: Timestamp,
    renew_at: Timestamp,
}

#[derive(Debug, Default)]
struct Call {
    /// Somebody waits for it.
    awaited: bool,
    failed_attempts: u32,
}

#[derive(Debug)]
struct Failure {
    error: Arc<StsError>,
    /// Calls that failed since the last that did not.
    times: u32,
    /// Nobody calls STS before.
    until: Timestamp,
}

/// What an entry has for somebody who asks.
#[derive(Debug)]
pub(super) enum Answer {
    /// Credentials that have not expired.
    Held(Arc<Issued>),
    /// STS failed a moment ago.
    Failed(Arc<StsError>),
    /// A call will tell: one that is under way, or one that is to begin now.
    Await,
}

/// What there is for those who are supplied before they ask.
#[derive(Clone, Debug)]
pub enum Supply {
    /// Credentials.
    Held {
        /// The credentials.
        issued: Arc<Issued>,
        /// When they end, by the vault's own clock.
        ends: Timestamp,
    },
    /// Nothing: the last call failed.
    Failed(Arc<StsError>),
    /// Nothing yet.
    Awaited,
}

/// What is known of a role identity, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// When the credentials held end, by the vault's own clock.
    pub ends: Option<Timestamp>,
    /// Whether a call to STS is under way.
    pub called: bool,
    /// Why the last call failed, unless a later one has not.
    pub failure: Option<Arc<StsError>>,
}

/// What follows a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Another attempt, after the pause that belongs to so many failed ones.
    AfterFailed(u32),
    /// Another attempt now, for a session of an hour.
    Shorter,
    /// The call has failed.
    GiveUp,
}

/// The state of an entry, for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Nothing held, a call under way.
    Fetching,
    /// Held, not due.
    Fresh,
    /// Held, a call under way.
    Refreshing,
    /// Held and due, and the last call failed.
    Stale,
    /// Held once, and not renewed in time.
    Expired,
    /// Nothing held: STS refuses the role.
    Refused,
    /// Nothing held: STS could not be asked.
    Failed,
}

impl Stage {
    /// Every stage, for metrics that show each from the start.
    pub const ALL: [Self; 7] =
        [Self::Fetching, Self::Fresh, Self::Refreshing, Self::Stale, Self::Expired, Self::Refused, Self::Failed];

    /// The name in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fetching => "fetching",
            Self::Fresh => "fresh",
            Self::Refreshing => "refreshing",
            Self::Stale => "stale",
            Self::Expired => "expired",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

impl Entry {
    /// What there is for somebody who asks now.
    pub(super) fn answer(&self, now: Timestamp) -> Answer {
        if let Some(held) = self.held(now) {
            return Answer::Held(Arc::clone(&held.issued));
        }
        match self.pausing(now) {
            Some(failure) if self.call.is_none() => Answer::Failed(Arc::clone(&failure.error)),
            _ => Answer::Await,
        }
    }

    /// What there is for those who are supplied before they ask. How STS failed stays true until it is asked again.
    pub(super) fn supply(&self, now: Timestamp) -> Supply {
        match (self.held(now), &self.failure) {
            (Some(held), _) => Supply::Held { issued: Arc::clone(&held.issued), ends: held.ends },
            (None, Some(failure)) if self.call.is_none() => Supply::Failed(Arc::clone(&failure.error)),
            (None, _) => Supply::Awaited,
        }
    }

    /// What is known, for people.
    pub(super) fn standing(&self, now: Timestamp) -> Standing {
        Standing {
            ends: self.held(now).map(|held| held.ends),
            called: self.call.is_some(),
            failure: self.failure.as_ref().map(|failure| Arc::clone(&failure.error)),
        }
    }

    /// Whether there is nothing held, or it is time for its renewal; and no call under way, nor a pause after one.
    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        let renewable = self.held(now).is_none_or(|held| held.renew_at <= now);
        renewable && self.call.is_none() && self.pausing(now).is_none()
    }

    /// Whether STS may be asked although nobody waits. Of a role that it refuses, only who needs it asks again.
    pub(super) fn is_worth_asking(&self, now: Timestamp) -> bool {
        self.held(now).is_some() || !self.failure.as_ref().is_some_and(|failure| failure.error.kind.is_refusal())
    }

    /// A call begins. There must be none.
    pub(super) fn begin(&mut self) {
        debug_assert!(self.call.is_none(), "one call at a time");
        self.call = Some(Call::default());
    }

    /// Somebody waits for the call under way.
    pub(super) fn wait(&mut self) {
        if let Some(call) = &mut self.call {
            call.awaited = true;
        }
    }

    /// Whether somebody waits for the call under way.
    pub(super) fn is_awaited(&self) -> bool {
        self.call.as_ref().is_some_and(|call| call.awaited)
    }

    /// Who goes before whom, if a call is under way.
    pub(super) fn rank(&self, now: Timestamp) -> Option<Rank> {
        let call = self.call.as_ref()?;
        Some(match self.life_left(now) {
            _ if call.awaited => Rank::Waiting,
            None => Rank::Prefetch,
            Some(left) if left < URGENT => Rank::Expiring,
            Some(_) => Rank::Refresh,
        })
    }

    /// How long a session to ask for.
    pub(super) fn duration(&self, configured: Duration) -> Duration {
        if self.shortened { configured.min(ALWAYS_GRANTED) } else { configured }
    }

    /// An attempt of the call under way failed: what next? `configured` is the session's length by configuration.
    pub(super) fn attempt_failed(&mut self, kind: StsErrorKind, configured: Duration) -> Next {
        if kind == StsErrorKind::TooLong && self.duration(configured) > ALWAYS_GRANTED {
            self.shortened = true;
            return Next::Shorter;
        }
        let Some(call) = &mut self.call else { return Next::GiveUp };
        call.failed_attempts += 1;
        if call.awaited && kind.is_transient() && call.failed_attempts < ATTEMPTS {
            Next::AfterFailed(call.failed_attempts)
        } else {
            Next::GiveUp
        }
    }

    /// The call brought credentials.
    pub(super) fn granted(&mut self, issued: Arc<Issued>, ends: Timestamp, renew_at: Timestamp) {
        self.call = None;
        self.failure = None;
        self.held = Some(Held { issued, ends, renew_at });
    }

    /// The call failed. `until` is told how many have in a row, and how long what is held still lives.
    pub(super) fn failed(
        &mut self,
        error: Arc<StsError>,
        now: Timestamp,
        until: impl FnOnce(u32, Option<Duration>) -> Timestamp,
    ) {
        self.call = None;
        let times = self.failure.as_ref().map_or(0, |failure| failure.times).saturating_add(1);
        let until = until(times, self.life_left(now));
        self.failure = Some(Failure { error, times, until });
    }

    /// The call ended without having asked STS.
    pub(super) fn abandoned(&mut self) {
        self.call = None;
    }

    /// What failed is worth asking again.
    pub(super) fn forget_failure(&mut self) {
        self.failure = None;
    }

    /// What is held is needed no more.
    pub(super) fn let_go(&mut self) {
        self.held = None;
    }

    /// The state, for metrics.
    pub(super) fn stage(&self, now: Timestamp) -> Stage {
        match (self.held(now), &self.call, &self.failure) {
            (Some(_), Some(_), _) => Stage::Refreshing,
            (Some(held), None, Some(_)) if held.renew_at <= now => Stage::Stale,
            (Some(_), None, _) => Stage::Fresh,
            (None, Some(_), _) => Stage::Fetching,
            (None, None, Some(failure)) if failure.error.kind.is_refusal() => Stage::Refused,
            (None, None, _) if self.held.is_some() => Stage::Expired,
            (None, None, _) => Stage::Failed,
        }
    }

    /// How long what is held still lives.
    pub(super) fn life_left(&self, now: Timestamp) -> Option<Duration> {
        Duration::try_from(self.held(now)?.ends.duration_since(now)).ok()
    }

    fn held(&self, now: Timestamp) -> Option<&Held> {
        self.held.as_ref().filter(|held| held.ends > now)
    }

    fn pausing(&self, now: Timestamp) -> Option<&Failure> {
        self.failure.as_ref().filter(|failure| failure.until > now)
    }
}
