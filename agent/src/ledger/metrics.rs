//! What `/metrics` tells of the ledger and its stream, read at each scrape. Registered by `app.rs`.

use std::sync::Arc;

use kiam_common::registry::Registry;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntGauge, IntGaugeVec, Opts};

use super::{Ledger, Standing};

impl Standing {
    const ALL: [Self; 3] = [Self::Pinned, Self::Unpinned, Self::Unconfirmed];

    const fn label(self) -> &'static str {
        match self {
            Self::Pinned => "pinned",
            Self::Unpinned => "unpinned",
            Self::Unconfirmed => "unconfirmed",
        }
    }
}

impl Ledger {
    /// Registers the sizes of the ledger, and whether a stream supplies it.
    pub(crate) fn register(self: &Arc<Self>, registry: &Registry) -> prometheus::Result<()> {
        let bindings =
            Opts::new("kiam_ledger_bindings", "Addresses that the ledger has a pod for, by how sure that is");
        registry.register(Box::new(LedgerMetrics {
            ledger: self.clone(),
            bindings: IntGaugeVec::new(bindings, &["standing"])?,
            sessions: IntGauge::new("kiam_ledger_sessions", "Role sessions that the ledger has credentials of")?,
            connected: IntGauge::new("kiam_stream_connected", "1 if a server supplies the ledger")?,
        }))
    }
}

struct LedgerMetrics {
    ledger: Arc<Ledger>,
    bindings: IntGaugeVec,
    sessions: IntGauge,
    connected: IntGauge,
}

fn gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

impl Collector for LedgerMetrics {
    fn desc(&self) -> Vec<&Desc> {
        [self.bindings.desc(), self.sessions.desc(), self.connected.desc()].concat()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        for standing in Standing::ALL {
            self.bindings.with_label_values(&[standing.label()]).set(gauge(self.ledger.bindings(standing)));
        }
        self.sessions.set(gauge(self.ledger.sessions()));
        self.connected.set(self.ledger.is_supplied().into());
        [self.bindings.collect(), self.sessions.collect(), self.connected.collect()].concat()
    }
}
