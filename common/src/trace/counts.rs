//! What becomes of spans: counted by [`super::export`], shown by each program's `app.rs`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntCounter, IntCounterVec, Opts, Registry};

/// How many spans there were. Clones are the same counts.
#[derive(Clone, Debug, Default)]
pub struct SpanCounts(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    exported: AtomicU64,
    dropped: AtomicU64,
}

impl SpanCounts {
    /// Registers `kiam_trace_spans_total`.
    pub fn register(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        let help = "Spans sent to the collector, and those that it did not take or that there was no room for.";
        let spans = IntCounterVec::new(Opts::new("kiam_trace_spans_total", help), &["outcome"])?;
        let (exported, dropped) = (spans.with_label_values(&["exported"]), spans.with_label_values(&["dropped"]));
        registry.register(Box::new(Shown { counts: self.clone(), spans, exported, dropped }))
    }

    pub(super) fn exported(&self, spans: usize) {
        self.0.exported.fetch_add(u64::try_from(spans).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(super) fn dropped(&self, spans: usize) {
        self.0.dropped.fetch_add(u64::try_from(spans).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

struct Shown {
    counts: SpanCounts,
    spans: IntCounterVec,
    exported: IntCounter,
    dropped: IntCounter,
}

impl Collector for Shown {
    fn desc(&self) -> Vec<&Desc> {
        self.spans.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        for (shown, count) in [(&self.exported, &self.counts.0.exported), (&self.dropped, &self.counts.0.dropped)] {
            shown.inc_by(count.load(Ordering::Relaxed).saturating_sub(shown.get()));
        }
        self.spans.collect()
    }
}
