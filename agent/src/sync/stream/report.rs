//! What the agent tells the server on its stream: `Hello` once, then its status, and its series when they are wanted.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use futures_util::StreamExt as _;
use futures_util::stream::{once, unfold};
use kiam_common::registry::Registry;
use kiam_common::tls::Identity;
use kiam_proto::node::node_message::Message;
use kiam_proto::node::{Hello, Interception, Metrics, NodeMessage, Status};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::exposition;
use crate::intercept::metrics::RuleMetrics;
use crate::ledger::{Ledger, Standing};
use crate::metrics::Metrics as Counts;
use crate::zone::Zone;

/// The pause between two reports, up to a tenth longer or shorter.
const REPORT_EVERY: Duration = Duration::from_secs(5);

/// Knows how the agent does.
pub(crate) struct Reporter {
    /// Who the agent is.
    pub(crate) hello: Hello,
    /// Its answers.
    pub(crate) ledger: Arc<Ledger>,
    /// Its count of requests.
    pub(crate) metrics: Arc<Counts>,
    /// Its certificate.
    pub(crate) identity: Arc<Identity>,
    /// The rules that it keeps, if it keeps any.
    pub(crate) rules: Option<Arc<RuleMetrics>>,
    /// Its series.
    pub(crate) registry: Registry,
    /// Where its node is.
    pub(crate) zone: Zone,
}

impl Reporter {
    /// Everything that is sent on one stream. `applied` is the number of the last message that is in effect there, 0
    /// before the snapshot is, and `wanted` that of the last question for the agent's series; the stream ends with them.
    pub(super) fn messages(
        self: Arc<Self>,
        applied: watch::Receiver<u64>,
        wanted: watch::Receiver<u64>,
    ) -> impl Stream<Item = NodeMessage> + Send + use<> {
        let (hello, zone) = (self.hello.clone(), self.zone.clone());
        let hello = async move { Message::Hello(Hello { zone: zone.await, ..hello }) };
        let reports = Reports { reporter: self, applied, wanted, pieces: VecDeque::new(), status_due: None };
        let reports = unfold(reports, |mut reports| async move { Some((reports.next().await?, reports)) });
        once(hello).chain(reports).map(|message| NodeMessage { message: Some(message) })
    }

    fn status(&self, applied_sequence: u64) -> Status {
        let count = |standing| u32::try_from(self.ledger.bindings(standing)).unwrap_or(u32::MAX);
        let interception = match self.rules.as_ref().map(|rules| rules.is_healthy()) {
            None => Interception::Unspecified,
            Some(true) => Interception::Healthy,
            Some(false) => Interception::Broken,
        };
        Status {
            applied_sequence,
            requests: self.metrics.requests(),
            certificate_not_after: self.identity.not_after(),
            pinned: count(Standing::Pinned),
            unpinned: count(Standing::Unpinned),
            interception: interception.into(),
        }
    }
}

/// What is sent after `Hello`.
struct Reports {
    reporter: Arc<Reporter>,
    applied: watch::Receiver<u64>,
    wanted: watch::Receiver<u64>,
    /// Series that are still to be sent.
    pieces: VecDeque<Metrics>,
    /// When the next status is; none: once the snapshot is in effect.
    status_due: Option<Instant>,
}

impl Reports {
    async fn next(&mut self) -> Option<Message> {
        if let Some(piece) = self.pieces.pop_front() {
            return Some(Message::Metrics(piece));
        }
        let Some(due) = self.status_due else {
            self.applied.wait_for(|applied| *applied > 0).await.ok()?;
            return Some(self.status());
        };
        tokio::select! {
            () = sleep_until(due) => Some(self.status()),
            Ok(()) = self.wanted.changed() => {
                let id = *self.wanted.borrow_and_update();
                self.pieces = exposition::pieces(&self.reporter.registry, id).into();
                self.pieces.pop_front().map(Message::Metrics)
            }
            () = closed(&mut self.applied) => None,
        }
    }

    fn status(&mut self) -> Message {
        self.status_due = Some(Instant::now() + REPORT_EVERY.mul_f64(0.9 + fastrand::f64() / 5.0));
        Message::Status(self.reporter.status(*self.applied.borrow_and_update()))
    }
}

/// Waits until there is no stream any more. What is not sent to its end keeps a call open, and the server waiting.
async fn closed(applied: &mut watch::Receiver<u64>) {
    while applied.changed().await.is_ok() {}
}
