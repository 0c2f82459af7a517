//! What reviews count.

use prometheus::{Error, IntCounterVec, Opts};

use crate::registry::Registry;

/// What came of asking about a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReviewOutcome {
    /// It is good.
    Accepted,
    /// It is not.
    Refused,
    /// There was no answer.
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

/// Counts reviews.
#[derive(Clone, Debug)]
pub struct ReviewMetrics {
    reviews: IntCounterVec,
}

impl ReviewMetrics {
    /// Registers the series of this name.
    pub fn new(registry: &Registry, name: &str, help: &str) -> Result<Self, Error> {
        let reviews = IntCounterVec::new(Opts::new(name, help), &["outcome"])?;
        registry.register(Box::new(reviews.clone()))?;
        for outcome in ReviewOutcome::ALL {
            reviews.with_label_values(&[outcome.as_str()]);
        }
        Ok(Self { reviews })
    }

    pub(super) fn reviewed(&self, outcome: ReviewOutcome) {
        self.reviews.with_label_values(&[outcome.as_str()]).inc();
    }
}
