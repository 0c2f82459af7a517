//! The server's cache of credentials over STS, keyed by role identity.
//!
//! [`crate::issue`] asks it for each request; [`prefetch`] and [`refresh`] ask before anybody else has to. However
//! many ask at once, and whoever hangs up meanwhile, an identity has at most one AssumeRole call under way
//! ([`flight`]); what is held is given out until it really expires ([`entry`]).

mod entry;
mod flight;
pub mod prefetch;
pub mod refresh;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use kiam_common::clock::Clock;
use kiam_common::role::RoleIdentity;
use moka::future::Cache;

use crate::metrics::VaultMetrics;
use crate::sts::Sts;
use entry::{Entry, Look};
use flight::Launcher;
pub use flight::Outcome;
use refresh::Schedule;

/// Credentials by role identity.
pub struct Vault {
    entries: Cache<RoleIdentity, Arc<Entry>>,
    launcher: Arc<Launcher>,
}

impl Vault {
    /// An empty vault that renews sessions `session_refresh` before they expire.
    pub fn new(sts: Arc<dyn Sts>, clock: Clock, session_refresh: Duration, metrics: VaultMetrics) -> Self {
        let schedule = Schedule::new(session_refresh);
        // Without a bound: `refresh` lets go of the identities that no pod asks for.
        let entries = Cache::builder().build();
        Self { entries, launcher: Arc::new(Launcher { sts, clock, schedule, metrics }) }
    }

    /// Credentials of a role identity: those held, or what STS answers.
    pub async fn get(&self, identity: &Arc<RoleIdentity>) -> Outcome {
        match self.look(identity).await {
            Look::Held(credentials) => {
                self.launcher.metrics.hits.inc();
                Ok(credentials)
            }
            Look::Awaited(flight) => {
                self.launcher.metrics.misses.inc();
                flight.outcome().await
            }
        }
    }

    /// Sees to it that credentials of a role identity are held, ahead of anybody asking.
    pub async fn warm(&self, identity: &Arc<RoleIdentity>) -> Outcome {
        match self.look(identity).await {
            Look::Held(credentials) => Ok(credentials),
            Look::Awaited(flight) => flight.outcome().await,
        }
    }

    /// How many role identities have credentials that have not expired.
    pub fn held(&self) -> usize {
        let now = self.launcher.clock.now();
        self.entries.iter().filter(|(_, entry)| entry.holds(now)).count()
    }

    async fn look(&self, identity: &Arc<RoleIdentity>) -> Look {
        let entry = self.entries.get_with_by_ref(&**identity, async { Arc::default() }).await;
        entry.look(self.launcher.clock.now(), || self.launcher.launch(identity, &entry))
    }
}
