//! The metrics of the program as such.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus::core::{Collector, Desc};
use prometheus::process_collector::ProcessCollector;
use prometheus::proto::MetricFamily;
use prometheus::{IntGauge, Opts};
use tokio::time::Instant;

use super::workers;
use crate::registry::Registry;

/// A collector whose values are costly to read and are therefore read at most once every so often:
/// `--prometheus-sync-interval`.
pub struct Sampled<C> {
    collector: C,
    every: Duration,
    last: Mutex<Option<(Instant, Vec<MetricFamily>)>>,
}

impl<C: Collector> Sampled<C> {
    /// Reads `collector` when it is scraped, but not again within `every`.
    pub fn new(collector: C, every: Duration) -> Self {
        Self { collector, every, last: Mutex::new(None) }
    }
}

impl<C: Collector> Collector for Sampled<C> {
    fn desc(&self) -> Vec<&Desc> {
        self.collector.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, families)) = last.as_ref().filter(|(read_at, _)| read_at.elapsed() < self.every) {
            return families.clone();
        }
        let families = self.collector.collect();
        *last = Some((Instant::now(), families.clone()));
        families
    }
}

impl<C> fmt::Debug for Sampled<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sampled").field("every", &self.every).finish_non_exhaustive()
    }
}

/// What every program tells of itself: `process_…`, read at most once every `every`, `kiam_runtime_…` and
/// `kiam_build_info`.
pub(super) fn register_program(registry: &Registry, every: Duration) -> Result<(), prometheus::Error> {
    registry.register(Box::new(Sampled::new(ProcessCollector::for_self(), every)))?;
    workers::register(registry)?;
    let build = Opts::new("kiam_build_info", "1, labelled with the version of the program.")
        .const_label("version", crate::VERSION);
    let build = IntGauge::with_opts(build)?;
    build.set(1);
    registry.register(Box::new(build))
}
