//! Renews credentials before they expire, for as long as a pod is there that may have them, and lets go of the rest.
//! Started once by [`crate::app`].

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use kiam_common::shutdown::Shutdown;
use tokio::time::MissedTickBehavior;

use super::Vault;

/// How often the vault is looked through.
const EVERY: Duration = Duration::from_secs(1);

/// Looks after the vault until the shutdown.
pub async fn keep(vault: Arc<Vault>, shutdown: Shutdown) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => vault.upkeep(),
            () = shutdown.begun() => return,
        }
    }
}

impl Vault {
    fn upkeep(&self) {
        let launcher = &self.launcher;
        let now = launcher.clock.now();
        // Carries out what moka has put off, so that secrets are wiped in a quiet server too.
        self.entries.run_pending_tasks();
        for (identity, place) in &self.entries {
            if let Some((ticket, rank)) = place.under_way(now) {
                // What could wait when it joined the line may be urgent by now.
                launcher.gate.raise(ticket, rank);
            }
            if !place.is_due(now) {
                continue;
            }
            if launcher.directory.is_wanted(&identity) {
                place.renew(now, |rank| launcher.launch(&identity, &place, rank));
            } else {
                tracing::debug!(role = %identity.arn, "no pod needs it: let go");
                self.entries.invalidate(&*identity);
            }
        }
        if self.has_room() && self.missed.swap(false, Ordering::Relaxed) {
            for demand in launcher.directory.demands() {
                // What does not fit even now has been counted.
                if !self.has_room() {
                    self.missed.store(true, Ordering::Relaxed);
                    break;
                }
                self.offer(&demand);
            }
        }
    }
}
