//! What goes wrong with the metrics themselves.

use prometheus::IntCounter;

use crate::registry::Registry;

/// Counts scrapes that could not be answered.
#[derive(Clone, Debug)]
pub(super) struct MetricErrors(IntCounter);

impl MetricErrors {
    /// Registers the series, at 0.
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let errors = IntCounter::new("kiam_metric_errors_total", "Scrapes that could not be answered.")?;
        registry.register(Box::new(errors.clone()))?;
        Ok(Self(errors))
    }

    /// Counts one.
    pub(super) fn count(&self) {
        self.0.inc();
    }
}
