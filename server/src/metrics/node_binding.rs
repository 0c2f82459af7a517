//! What node binding counts.

use prometheus::{Error, IntCounter, IntCounterVec, Registry};

use super::{counter, counters, registered};
use crate::node_binding::BindingError;

/// What became of a review of an agent's token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReviewOutcome {
    /// The token is good, and of a node.
    Accepted,
    /// It is not.
    Refused,
    /// The Kubernetes API did not answer.
    Failed,
}

impl ReviewOutcome {
    /// Every outcome.
    pub const ALL: [Self; 3] = [Self::Accepted, Self::Refused, Self::Failed];

    /// The label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

/// Counts who is bound to which node, and who is not.
#[derive(Clone, Debug)]
pub struct BindingMetrics {
    /// Calls of agents that nothing binds to a node.
    pub unbound: IntCounter,
    refusals: IntCounterVec,
    reviews: IntCounterVec,
}

impl BindingMetrics {
    /// Registers the series.
    pub fn new(registry: &Registry) -> Result<Self, Error> {
        let refusals = counters("kiam_node_binding_refusals_total", "Agents refused something of a node", "reason")?;
        let reviews = counters("kiam_token_reviews_total", "Reviews of agents' service account tokens", "outcome")?;
        let unbound = "Calls of agents that may ask for every node's pods";
        let metrics = Self {
            unbound: counter(registry, "kiam_node_unbound_calls_total", unbound)?,
            refusals: registered(registry, refusals)?,
            reviews: registered(registry, reviews)?,
        };
        for error in BindingError::ALL {
            metrics.refusals.with_label_values(&[error.as_str()]);
        }
        for outcome in ReviewOutcome::ALL {
            metrics.reviews.with_label_values(&[outcome.as_str()]);
        }
        Ok(metrics)
    }

    /// Counts a refusal.
    pub fn refused(&self, error: BindingError) {
        self.refusals.with_label_values(&[error.as_str()]).inc();
    }

    /// Counts a review.
    pub fn reviewed(&self, outcome: ReviewOutcome) {
        self.reviews.with_label_values(&[outcome.as_str()]).inc();
    }
}
