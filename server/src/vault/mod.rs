//! The server's cache of credentials over STS, keyed by role identity.
//!
//! [`crate::issue`] asks it for each request; the watch offers what pods will ask for; [`upkeep`] renews; the desk is
//! told by [`landings`] of all that is new and takes it as a supply. However many
//! ask at once, and whoever hangs up meanwhile, an identity has at most one call under way ([`flight`]). All calls wait
//! at one [`gate`] for their turn. The rules are plain functions and state machines: [`entry`], [`schedule`],
//! [`turnstile`], [`line`], [`bucket`].
//!
//! # Whose clock
//!
//! Whether credentials have expired must not depend on this machine's idea of the date, which may be wrong, and may be
//! stepped by an hour at any moment. STS says in each answer when the session ends *and* what the time is there (the
//! `Date` header): the difference is how long the session lives, never taken to be more than was asked for. From the
//! moment before the request was sent, that life is counted down on a clock that nobody sets
//! ([`kiam_common::clock::Clock`]: monotonic, goes on while the machine is suspended). An entry is judged by this
//! countdown only. It begins anew with each session, so a drift between the clocks never adds up to more than that of
//! one session's length. What pods are told as `Expiration` is STS's own word, untouched.

mod bucket;
mod entry;
mod flight;
mod gate;
pub mod landings;
mod line;
mod place;
mod rank;
mod schedule;
#[cfg(test)]
mod tests;
mod turnstile;
pub mod upkeep;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use kiam_common::clock::Clock;
use kiam_common::role::{RoleArn, RoleIdentity};
use moka::notification::RemovalCause;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use tokio::time::Instant;
use tracing::Span;

use crate::directory::Directory;
use crate::directory::change::Demand;
use crate::metrics::VaultMetrics;
use crate::sts::{Sts, StsError};
pub use entry::{Stage, Standing, Supply};
use flight::Launcher;
use gate::Gate;
use landings::Landings;
pub use place::Outcome;
use place::{Look, Place};
pub use rank::Rank;
pub use turnstile::Limits;

/// How the vault behaves.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// DurationSeconds of each session.
    pub session_duration: Duration,
    /// How long before its end a session is renewed.
    pub session_refresh: Duration,
    /// How many identities are kept; at least 1.
    pub capacity: u64,
    /// How many fetches ahead of anybody's need may wait.
    pub prefetch_buffer: usize,
    /// What STS is asked to bear.
    pub limits: Limits,
    /// How long STS may take for an answer.
    pub attempt_timeout: Duration,
}

/// Credentials by role identity.
pub struct Vault {
    entries: Cache<RoleIdentity, Arc<Place>>,
    capacity: u64,
    prefetch_buffer: usize,
    /// A fetch ahead did not fit.
    missed: AtomicBool,
    launcher: Arc<Launcher>,
}

/// The vault in numbers, at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Census {
    /// Entries by state.
    pub stages: [(Stage, usize); Stage::ALL.len()],
    /// Entries whose credentials have not expired.
    pub held: usize,
    /// How long until the first of the credentials held expires.
    pub soonest_end: Option<Duration>,
    /// Calls in line by rank.
    pub queued: [(Rank, usize); Rank::ALL.len()],
    /// How long the first of those has waited for whom a pod waits.
    pub oldest_waiting: Option<Duration>,
}

impl Vault {
    /// An empty vault. `directory` says who needs what.
    pub fn new(
        sts: Arc<dyn Sts>,
        clock: Clock,
        directory: Arc<Directory>,
        settings: &Settings,
        metrics: VaultMetrics,
    ) -> Self {
        let evicted = metrics.evicted.clone();
        // moka may keep what it has removed for a while; the secrets go now.
        let landings = Arc::<Landings>::default();
        let gone = Arc::clone(&landings);
        let let_go = move |identity: Arc<RoleIdentity>, place: Arc<Place>, cause| {
            place.let_go();
            gone.note(&identity);
            if cause == RemovalCause::Size {
                evicted.inc();
            }
        };
        let entries = Cache::builder()
            .max_capacity(settings.capacity)
            // Whoever asks is kept: with moka's own policy a full cache might refuse a newcomer each time it asks.
            .eviction_policy(EvictionPolicy::lru())
            .eviction_listener(let_go)
            .build();
        let launcher = Launcher {
            sts,
            gate: Arc::new(Gate::new(settings.limits, clock.clone())),
            clock,
            directory,
            session_duration: settings.session_duration,
            session_refresh: settings.session_refresh,
            attempt_timeout: settings.attempt_timeout,
            metrics,
            tickets: AtomicU64::default(),
            landings,
        };
        Self {
            entries,
            capacity: settings.capacity,
            prefetch_buffer: settings.prefetch_buffer,
            missed: AtomicBool::default(),
            launcher: Arc::new(launcher),
        }
    }

    /// Credentials of a role identity: those held, or what STS answers before `deadline`.
    pub async fn get(&self, identity: &Arc<RoleIdentity>, deadline: Instant) -> Outcome {
        let place = self.place(identity);
        let metrics = &self.launcher.metrics;
        let mut is_first = false;
        let launch = |rank| {
            is_first = true;
            self.launcher.launch(identity, &place, rank)
        };
        match place.look(self.launcher.clock.now(), launch) {
            Look::Held(credentials) => {
                metrics.hits.inc();
                Ok(credentials)
            }
            Look::Failed(error) => {
                metrics.misses.inc();
                Err(error)
            }
            Look::Awaited(flight) => {
                metrics.misses.inc();
                if !is_first {
                    // Part of another trace: this request's says which.
                    Span::current().follows_from(flight.span.clone());
                }
                let _waiting = metrics.waiting();
                self.launcher.gate.raise(flight.ticket, Rank::Waiting);
                let outcome = tokio::time::timeout_at(deadline, flight.outcome()).await;
                outcome.unwrap_or_else(|_| Err(Arc::new(StsError::unavailable("STS has not answered yet"))))
            }
        }
    }

    /// A pod will ask for this: gets it ahead, if policy allows and there is room. Never waits.
    pub fn offer(&self, demand: &Demand) {
        // Policy first: an annotation alone must not make the server call STS.
        if !self.launcher.directory.permits(demand) {
            return;
        }
        let known = self.entries.get(&*demand.identity);
        if let Some(place) = known.as_ref().filter(|_| demand.changed) {
            place.forget_failure();
        }
        let now = self.launcher.clock.now();
        if known.is_none_or(|place| place.is_due(now)) {
            self.fetch_ahead(&demand.identity, now);
        }
    }

    /// What there is of a role identity that a pod may have. If there has never been anything, it is fetched, if there
    /// is room.
    pub fn supply(&self, identity: &Arc<RoleIdentity>) -> Supply {
        let now = self.launcher.clock.now();
        if let Some(place) = self.entries.get(&**identity) {
            return place.supply(now);
        }
        self.fetch_ahead(identity, now);
        Supply::Awaited
    }

    /// What is known of a role identity, for people: looking changes nothing. None if nobody has asked for it.
    pub fn standing(&self, identity: &RoleIdentity) -> Option<Standing> {
        Some(self.entries.get(identity)?.standing(self.launcher.clock.now()))
    }

    /// Where there is something new.
    pub fn landings(&self) -> &Landings {
        &self.launcher.landings
    }

    /// Counts everything.
    pub fn census(&self) -> Census {
        let now = self.launcher.clock.now();
        let seen: Vec<_> = self.entries.iter().map(|(_, place)| (place.stage(now), place.life_left(now))).collect();
        let stages = Stage::ALL.map(|stage| (stage, seen.iter().filter(|(other, _)| *other == stage).count()));
        let held = seen.iter().filter(|(_, left)| left.is_some()).count();
        let soonest_end = seen.iter().filter_map(|(_, left)| *left).min();
        let (queued, oldest_waiting) = self
            .launcher
            .gate
            .line(|line| (Rank::ALL.map(|rank| (rank, line.depth(rank))), line.oldest(Rank::Waiting, now)));
        Census { stages, held, soonest_end, queued, oldest_waiting }
    }

    /// The roles whose credentials are held, and how long those of each that end first still live.
    pub fn lives(&self) -> BTreeMap<RoleArn, Duration> {
        let (now, mut lives) = (self.launcher.clock.now(), BTreeMap::new());
        for (identity, place) in &self.entries {
            if let Some(left) = place.life_left(now) {
                let soonest = lives.entry(identity.arn.clone()).or_insert(left);
                *soonest = left.min(*soonest);
            }
        }
        lives
    }

    fn fetch_ahead(&self, identity: &Arc<RoleIdentity>, now: Timestamp) {
        if !self.has_room() {
            self.missed.store(true, Ordering::Relaxed);
            self.launcher.metrics.dropped.inc();
            return;
        }
        let place = self.place(identity);
        place.renew(now, |rank| self.launcher.launch(identity, &place, rank));
    }

    fn has_room(&self) -> bool {
        let queued = self.launcher.gate.line(|line| line.depth(Rank::Prefetch));
        queued < self.prefetch_buffer && self.entries.entry_count() < self.capacity
    }

    fn place(&self, identity: &RoleIdentity) -> Arc<Place> {
        self.entries.get_with_by_ref(identity, Arc::default)
    }
}
