//! What node binding counts.

use kiam_common::registry::Registry;
use kiam_common::review::ReviewMetrics;
use prometheus::{Error, IntCounter, IntCounterVec};

use super::{counter, counters, registered};
use crate::node_binding::BindingError;

/// Counts who is bound to which node, and who is not.
#[derive(Clone, Debug)]
pub struct BindingMetrics {
    /// Calls of agents that nothing binds to a node.
    pub unbound: IntCounter,
    /// Reviews of agents' tokens.
    pub reviews: ReviewMetrics,
    refusals: IntCounterVec,
}

impl BindingMetrics {
    /// Registers the series.
    pub fn new(registry: &Registry) -> Result<Self, Error> {
        let refusals = counters("kiam_node_binding_refusals_total", "Agents refused something of a node", "reason")?;
        let reviews = "Reviews of agents' service account tokens";
        let unbound = "Calls of agents that may ask for every node's pods";
        let metrics = Self {
            unbound: counter(registry, "kiam_node_unbound_calls_total", unbound)?,
            refusals: registered(registry, refusals)?,
            reviews: ReviewMetrics::new(registry, "kiam_token_reviews_total", reviews)?,
        };
        for error in BindingError::ALL {
            metrics.refusals.with_label_values(&[error.as_str()]);
        }
        Ok(metrics)
    }

    /// Counts a refusal.
    pub fn refused(&self, error: BindingError) {
        self.refusals.with_label_values(&[error.as_str()]).inc();
    }
}
