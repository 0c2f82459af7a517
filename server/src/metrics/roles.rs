//! How long the credentials of each role still live, read at each scrape. Only with `--metrics-enable=roles`.

use std::sync::{Arc, Mutex, PoisonError};

use kiam_common::registry::Registry;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Error, GaugeVec};

use super::names::NAMES_MAX;
use super::{Costly, gauges};
use crate::vault::Vault;

/// Registers the series, if they are enabled.
pub fn roles(registry: &Registry, vault: &Arc<Vault>, costly: &[Costly]) -> Result<(), Error> {
    if !costly.contains(&Costly::Roles) {
        return Ok(());
    }
    let help = "Until the first of a role's credentials that are held expire";
    let soonest_end = gauges("kiam_role_soonest_expiry_seconds", help, "role")?;
    registry.register(Box::new(Lives { vault: Arc::clone(vault), soonest_end, scrape: Mutex::default() }))
}

struct Lives {
    vault: Arc<Vault>,
    soonest_end: GaugeVec,
    /// Held while the series are made anew.
    scrape: Mutex<()>,
}

impl Collector for Lives {
    fn desc(&self) -> Vec<&Desc> {
        self.soonest_end.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let _alone = self.scrape.lock().unwrap_or_else(PoisonError::into_inner);
        self.soonest_end.reset();
        for (role, left) in self.vault.lives().into_iter().take(NAMES_MAX) {
            self.soonest_end.with_label_values(&[role.as_str()]).set(left.as_secs_f64());
        }
        self.soonest_end.collect()
    }
}
