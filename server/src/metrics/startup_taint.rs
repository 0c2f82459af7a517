//! What becomes of startup taints.

use kiam_common::registry::Registry;
use prometheus::{Error, IntCounterVec};

use super::{counters, registered};
use crate::startup_taint::Outcome;

/// Counts the looks at nodes that may have one.
#[derive(Clone, Debug)]
pub struct StartupTaintMetrics {
    looks: IntCounterVec,
}

impl StartupTaintMetrics {
    /// Registers the series.
    pub fn new(registry: &Registry) -> Result<Self, Error> {
        let looks = counters("kiam_startup_taints_total", "Looks for a node's startup taint, by outcome", "outcome")?;
        let metrics = Self { looks: registered(registry, looks)? };
        for outcome in Outcome::ALL {
            metrics.looks.with_label_values(&[outcome.as_str()]);
        }
        Ok(metrics)
    }

    /// Counts a look.
    pub(crate) fn looked(&self, outcome: Outcome) {
        self.looks.with_label_values(&[outcome.as_str()]).inc();
    }
}
