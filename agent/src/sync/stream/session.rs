//! One stream to one server, from `Hello` to its end.
//!
//! What must always hold: messages take effect in order, none is left out unseen, and nothing of a snapshot is in effect
//! before all of it is.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use kiam_common::reason::Refusal;
use kiam_proto::node::ServerMessage;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tonic::{Code, Status, Streaming};

use super::report::Reporter;
use crate::ledger::{Change, Full, Gap, Ledger, Sequence, Told};
use crate::sync::decode::{Meaning, decode};
use crate::sync::endpoint::Endpoint;
use crate::sync::metrics::{StreamMetrics, Why};
use crate::sync::status;

/// How long a server may take until its snapshot is complete.
const SNAPSHOT_WITHIN: Duration = Duration::from_secs(5);
/// The most changes to make one table of.
const BATCH_MAX: usize = 1024;

/// Why a stream is over, or never was.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    /// A server of Kiam v4.
    #[error("the server has no stream")]
    Unimplemented,
    /// The server could not be reached, or no longer.
    #[error("{}", .0.message)]
    Unreachable(Refusal),
    /// The server would not have the agent, or would no longer.
    #[error("the server ended the stream: {}", .0.message)]
    Refused(Refusal),
    /// The server ended the stream without a word.
    #[error("the server ended the stream")]
    Closed,
    /// The snapshot was not complete in time.
    #[error("no snapshot within {SNAPSHOT_WITHIN:?}")]
    NoSnapshot,
    /// A message is missing.
    #[error(transparent)]
    Gap(#[from] Gap),
    /// The server is about to stop. The stream goes on for a while.
    #[error("the server goes away: {0}")]
    GoAway(String),
    /// The endpoint is no longer one of those in use. The stream goes on.
    #[error("the address or the agent's certificate was replaced")]
    Replaced,
}

impl End {
    /// As it is counted.
    pub(super) fn why(&self) -> Why {
        match self {
            Self::Unimplemented | Self::Unreachable(_) | Self::Refused(_) | Self::Closed | Self::NoSnapshot => {
                Why::Lost
            }
            Self::Gap(_) => Why::Gap,
            Self::GoAway(_) => Why::GoAway,
            Self::Replaced => Why::Replaced,
        }
    }

    /// Whether the stream is still good until there is another.
    pub(super) fn leaves_time(&self) -> bool {
        matches!(self, Self::GoAway(_) | Self::Replaced)
    }
}

impl From<Status> for End {
    fn from(status: Status) -> Self {
        match status.code() {
            Code::Unimplemented => Self::Unimplemented,
            _ if status::is_of_transport(&status) => Self::Unreachable(status::refusal(&status)),
            _ => Self::Refused(status::refusal(&status)),
        }
    }
}

/// A stream whose snapshot is complete.
pub(super) struct Session {
    /// The server.
    pub(super) endpoint: Arc<Endpoint>,
    /// Since when.
    pub(super) opened: Instant,
    incoming: Streaming<ServerMessage>,
    sequence: Sequence,
    applied: watch::Sender<u64>,
    /// The number of the last question for the agent's series, 0 before the first.
    wanted: watch::Sender<u64>,
    metrics: StreamMetrics,
}

impl Session {
    /// Opens a stream, and puts its snapshot into the ledger when it is complete.
    pub(super) async fn open(
        endpoint: Arc<Endpoint>,
        reporter: Arc<Reporter>,
        metrics: StreamMetrics,
    ) -> Result<Self, End> {
        let ledger = reporter.ledger.clone();
        let opening = async {
            let (applied, wanted) = (watch::Sender::new(0), watch::Sender::new(0));
            let messages = reporter.messages(applied.subscribe(), wanted.subscribe());
            let incoming = endpoint.stream_client().sync(messages).await?.into_inner();
            let (opened, sequence) = (Instant::now(), Sequence::default());
            let mut session = Self { endpoint, opened, incoming, sequence, applied, wanted, metrics };
            let snapshot = session.snapshot().await?;
            Ok((session, snapshot))
        };
        let (session, snapshot) = timeout(SNAPSHOT_WITHIN, opening).await.unwrap_or(Err(End::NoSnapshot))?;
        ledger.replace(snapshot);
        session.applied.send_replace(session.sequence.last());
        Ok(session)
    }

    async fn snapshot(&mut self) -> Result<Told, End> {
        let mut told = Told::default();
        loop {
            match self.next().await? {
                Meaning::Change(change) => self.note_full(told.apply(change)),
                Meaning::SnapshotEnd => return Ok(told),
                Meaning::GoAway(reason) => return Err(End::GoAway(reason)),
                Meaning::MetricsWanted(id) => self.want_metrics(id),
                Meaning::Nothing => {}
            }
        }
    }

    /// Puts changes into the ledger as they come, until the stream ends or the server is about to stop. In the latter
    /// case it can be called again.
    pub(super) async fn follow(&mut self, ledger: &Ledger) -> End {
        loop {
            let mut changes = Vec::new();
            let mut outcome = self.take(&mut changes).await;
            while outcome.is_ok() && changes.len() < BATCH_MAX {
                match self.take(&mut changes).now_or_never() {
                    Some(next) => outcome = next,
                    None => break,
                }
            }
            if !changes.is_empty() {
                self.note_full(ledger.apply(changes));
            }
            self.applied.send_replace(self.sequence.last());
            if let Err(end) = outcome {
                return end;
            }
        }
    }

    async fn take(&mut self, changes: &mut Vec<Change>) -> Result<(), End> {
        match self.next().await? {
            Meaning::Change(change) => changes.push(change),
            Meaning::GoAway(reason) => return Err(End::GoAway(reason)),
            Meaning::MetricsWanted(id) => self.want_metrics(id),
            Meaning::SnapshotEnd | Meaning::Nothing => {}
        }
        Ok(())
    }

    /// The next message. May be given up at any time without losing one.
    async fn next(&mut self) -> Result<Meaning, End> {
        let message = self.incoming.message().await?.ok_or(End::Closed)?;
        self.sequence.take(message.sequence)?;
        Ok(decode(message.message).unwrap_or_else(|senseless| {
            self.metrics.skipped.inc();
            tracing::warn!(address = %self.endpoint.address(), sequence = message.sequence, "left out: {senseless}");
            senseless.instead()
        }))
    }

    /// Has the agent's series sent.
    fn want_metrics(&self, id: u64) {
        self.wanted.send_replace(id);
    }

    fn note_full(&self, outcome: Result<(), Full>) {
        if let Err(full) = outcome {
            self.metrics.skipped.inc();
            tracing::warn!(address = %self.endpoint.address(), "left out: {full}");
        }
    }
}
