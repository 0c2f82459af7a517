//! What the agent tells the server on its stream: `Hello` once, then its status.

use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use futures_util::stream::{once, unfold};
use futures_util::{StreamExt as _, future};
use kiam_common::tls::Identity;
use kiam_proto::node::node_message::Message;
use kiam_proto::node::{Hello, Interception, NodeMessage, Status};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::intercept::metrics::RuleMetrics;
use crate::ledger::{Ledger, Standing};
use crate::metrics::Metrics;

/// The pause between two reports, up to a tenth longer or shorter.
const REPORT_EVERY: Duration = Duration::from_secs(5);

/// Knows how the agent does.
pub(crate) struct Reporter {
    /// Who the agent is.
    pub(crate) hello: Hello,
    /// Its answers.
    pub(crate) ledger: Arc<Ledger>,
    /// Its count of requests.
    pub(crate) metrics: Arc<Metrics>,
    /// Its certificate.
    pub(crate) identity: Arc<Identity>,
    /// The rules that it keeps, if it keeps any.
    pub(crate) rules: Option<Arc<RuleMetrics>>,
}

impl Reporter {
    /// Everything that is sent on one stream. `applied` is the number of the last message that is in effect there, 0
    /// before the snapshot is; the stream ends with it.
    pub(super) fn messages(
        self: Arc<Self>,
        applied: watch::Receiver<u64>,
    ) -> impl Stream<Item = NodeMessage> + Send + use<> {
        let hello = Message::Hello(self.hello.clone());
        let reports = unfold((self, applied, true), |(reporter, mut applied, is_first)| async move {
            if is_first {
                applied.wait_for(|applied| *applied > 0).await.ok()?;
            } else {
                let due = sleep(REPORT_EVERY.mul_f64(0.9 + fastrand::f64() / 5.0));
                tokio::select! {
                    () = due => {}
                    () = closed(&mut applied) => return None,
                }
            }
            let status = reporter.status(*applied.borrow_and_update());
            Some((Message::Status(status), (reporter, applied, false)))
        });
        once(future::ready(hello)).chain(reports).map(|message| NodeMessage { message: Some(message) })
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

/// Waits until there is no stream any more. What is not sent to its end keeps a call open, and the server waiting.
async fn closed(applied: &mut watch::Receiver<u64>) {
    while applied.changed().await.is_ok() {}
}
