//! Renews credentials before they expire, for as long as a pod is there that may have them, and lets go of the rest.
//! Started once by [`crate::app`].

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kiam_common::role::RoleIdentity;
use kiam_common::shutdown::Shutdown;

use super::Vault;
use super::entry::Entry;
use crate::directory::Directory;
use crate::jitter;

/// How often the vault is looked through.
const EVERY: Duration = Duration::from_secs(1);
/// The pause after a first failed call; each further one doubles it.
const RETRY_FIRST: Duration = Duration::from_secs(5);
/// The longest pause between failed calls.
const RETRY_LONGEST: Duration = Duration::from_mins(5);

/// When to renew.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    session_refresh: Duration,
}

impl Schedule {
    /// Renews `session_refresh` before expiry.
    pub(super) fn new(session_refresh: Duration) -> Self {
        Self { session_refresh }
    }

    /// When to renew credentials that were issued at `now`: `session_refresh` before they expire, or at half of their
    /// life where they live less than twice that. Up to a tenth earlier, so that roles fetched together are not
    /// renewed together.
    pub(super) fn renew_at(&self, now: Timestamp, expiration: Timestamp) -> Timestamp {
        let life = Duration::try_from(expiration.duration_since(now)).unwrap_or_default();
        let lead = self.session_refresh.min(life / 2);
        let lead = lead + jitter::up_to(lead / 10);
        expiration.saturating_sub(lead).unwrap_or(now)
    }

    /// When to try again after this many failed calls in a row.
    pub(super) fn retry_at(now: Timestamp, failures: u32) -> Timestamp {
        let doubled = 2_u32.saturating_pow(failures.saturating_sub(1));
        let pause = RETRY_FIRST.saturating_mul(doubled).min(RETRY_LONGEST);
        now.saturating_add(pause + jitter::up_to(pause / 10)).unwrap_or(now)
    }
}

/// Looks after the vault until the shutdown.
pub async fn keep_fresh(vault: Arc<Vault>, directory: Arc<Directory>, shutdown: Shutdown) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => vault.upkeep(&directory).await,
            () = shutdown.begun() => return,
        }
    }
}

impl Vault {
    async fn upkeep(&self, directory: &Directory) {
        let now = self.launcher.clock.now();
        let due = |(_, entry): &(Arc<RoleIdentity>, Arc<Entry>)| entry.is_due(now);
        let due: Vec<_> = self.entries.iter().filter(due).collect();
        for (identity, entry) in due {
            if directory.is_wanted(&identity) {
                entry.look(now, || self.launcher.launch(&identity, &entry));
            } else {
                tracing::debug!(role = %identity.arn, "no pod needs it: let go");
                self.entries.invalidate(identity.as_ref()).await;
            }
        }
    }
}
