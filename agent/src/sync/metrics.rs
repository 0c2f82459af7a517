//! What the agent counts about its servers and its stream. Created in `app.rs`, counted by `stream`.

use std::sync::Arc;

use kiam_common::registry::Registry;
use prometheus::{IntCounter, IntCounterVec, Opts, PullingGauge};

use super::endpoints::Endpoints;

/// Why a stream that supplied the ledger was given up: the `why` label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// The connection broke, or the server ended the stream.
    Lost,
    /// The server said that it is about to stop.
    GoAway,
    /// A message was missing.
    Gap,
    /// The server's address or the agent's certificate was replaced.
    Replaced,
}

impl Why {
    const ALL: [Self; 4] = [Self::Lost, Self::GoAway, Self::Gap, Self::Replaced];

    /// As in logs.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::GoAway => "go_away",
            Self::Gap => "gap",
            Self::Replaced => "replaced",
        }
    }
}

/// The stream's metrics.
#[derive(Clone, Debug)]
pub(crate) struct StreamMetrics {
    moves: IntCounterVec,
    /// Messages that made no sense, and were left out.
    pub(super) skipped: IntCounter,
}

impl StreamMetrics {
    /// Registers every series, at 0.
    pub(crate) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let help = "Streams given up for another, by why";
        let moves = IntCounterVec::new(Opts::new("kiam_stream_moves_total", help), &["why"])?;
        registry.register(Box::new(moves.clone()))?;
        for why in Why::ALL {
            moves.get_metric_with_label_values(&[why.label()])?;
        }
        let help = "Messages of servers that made no sense or that there was no room for, and were left out";
        let skipped = IntCounter::new("kiam_ledger_skipped_total", help)?;
        registry.register(Box::new(skipped.clone()))?;
        Ok(Self { moves, skipped })
    }

    pub(super) fn moved(&self, why: Why) {
        self.moves.with_label_values(&[why.label()]).inc();
    }
}

impl Endpoints {
    /// Registers whether a server answers, read at each scrape.
    pub(crate) fn register(self: &Arc<Self>, registry: &Registry) -> prometheus::Result<()> {
        let endpoints = self.clone();
        let read = Box::new(move || f64::from(u8::from(endpoints.is_reachable())));
        registry.register(Box::new(PullingGauge::new("kiam_server_reachable", "1 if a server answered last", read)?))
    }
}
