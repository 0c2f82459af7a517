//! One agent's stream while it lasts: the snapshot, then what changes, until one side leaves. A task of its own; it
//! never waits for a slow agent longer than it takes to give the agent up.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use kiam_common::shutdown::Shutdown;
use kiam_proto::encoding::node::NodeMessage;
use kiam_proto::encoding::node::node_message::Message as Said;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tonic::{Status, Streaming};

use super::Supplier;
use super::wire::Outgoing;
use crate::desk::Clerk;
use crate::desk::told::Message;
use crate::grpc::fleet::Membership;
use crate::grpc::lifetime::Lifetime;

/// How long an agent may leave the queue full.
const ACCEPT_WITHIN: Duration = Duration::from_secs(10);
/// How long an agent may say nothing.
const SILENCE: Duration = Duration::from_mins(1);
/// How long agents are served on after they have been sent to another server.
const FAREWELL: Duration = Duration::from_secs(5);

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The agent left, or its connection did.
    Agent,
    /// The agent did not read.
    Slow,
    /// The agent said nothing for a minute.
    Silent,
    /// Newer streams of the same node took its place.
    Replaced,
    /// The server stops.
    Shutdown,
    /// The connection had grown old.
    Age,
    /// It never began.
    Refused,
}

impl End {
    /// Every end, for metrics that show each from the start.
    pub const ALL: [Self; 7] =
        [Self::Agent, Self::Slow, Self::Silent, Self::Replaced, Self::Shutdown, Self::Age, Self::Refused];

    /// The name in metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Slow => "slow",
            Self::Silent => "silent",
            Self::Replaced => "replaced",
            Self::Shutdown => "shutdown",
            Self::Age => "age",
            Self::Refused => "refused",
        }
    }
}

/// Why an agent is asked to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Farewell {
    Shutdown,
    Age,
}

pub(super) struct Session {
    supplier: Arc<Supplier>,
    membership: Membership,
    clerk: Clerk,
    inbound: Streaming<NodeMessage>,
    outbound: mpsc::Sender<Outgoing>,
    /// Tells when the agent's series are wanted.
    questions: watch::Receiver<u64>,
    lifetime: Lifetime,
    /// The agent was asked to leave.
    leaving: Option<Farewell>,
}

impl Session {
    pub(super) fn new(
        supplier: Arc<Supplier>,
        membership: Membership,
        inbound: Streaming<NodeMessage>,
        outbound: mpsc::Sender<Outgoing>,
        lifetime: Lifetime,
    ) -> Self {
        let clerk = supplier.desk.clerk(&membership.connected.node);
        let questions = membership.connected.errand.questions();
        Self { supplier, membership, clerk, inbound, outbound, questions, lifetime, leaving: None }
    }

    /// Supplies the agent for as long as it is there.
    pub(super) async fn run(mut self) {
        let node = Arc::clone(&self.membership.connected.node);
        tracing::debug!(%node, "stream opened");
        let Err(end) = self.supply().await;
        self.supplier.metrics.ended(end);
        match end {
            End::Slow | End::Silent => {
                // What it has not taken would stay with its connection.
                self.lifetime.cut();
                tracing::warn!(%node, end = end.as_str(), "stream ended");
            }
            _ => tracing::debug!(%node, end = end.as_str(), "stream ended"),
        }
    }

    async fn supply(&mut self) -> Result<Infallible, End> {
        self.send(Outgoing::Welcome).await?;
        let snapshot = self.clerk.snapshot();
        self.tell(snapshot).await?;
        self.send(Outgoing::SnapshotEnd).await?;
        let mut silence = std::pin::pin!(sleep(SILENCE));
        let mut farewell = std::pin::pin!(farewell(self.supplier.shutdown.clone(), self.lifetime.clone()));
        let mut gone_by = None;
        loop {
            tokio::select! {
                said = self.inbound.message() => {
                    self.heard(said)?;
                    silence.as_mut().reset(Instant::now() + SILENCE);
                }
                changes = self.clerk.changes() => self.tell(changes.ok_or(End::Replaced)?).await?,
                Ok(()) = self.questions.changed() => {
                    let id = *self.questions.borrow_and_update();
                    self.send(Outgoing::MetricsWanted(id)).await?;
                }
                why = farewell.as_mut(), if self.leaving.is_none() => {
                    self.leaving = Some(why);
                    gone_by = (why == Farewell::Shutdown).then(|| Instant::now() + FAREWELL);
                    self.send(Outgoing::GoAway(why.words())).await?;
                }
                () = reached(gone_by) => return Err(End::Shutdown),
                () = silence.as_mut() => return Err(End::Silent),
            }
        }
    }

    async fn tell(&self, messages: Vec<Message>) -> Result<(), End> {
        for message in messages {
            self.send(Outgoing::News(message)).await?;
        }
        Ok(())
    }

    async fn send(&self, outgoing: Outgoing) -> Result<(), End> {
        match self.outbound.try_send(outgoing) {
            Ok(()) => Ok(()),
            Err(TrySendError::Closed(_)) => Err(self.left()),
            Err(TrySendError::Full(outgoing)) => match timeout(ACCEPT_WITHIN, self.outbound.send(outgoing)).await {
                Ok(sent) => sent.map_err(|_| self.left()),
                Err(_) => Err(End::Slow),
            },
        }
    }

    fn heard(&self, said: Result<Option<NodeMessage>, Status>) -> Result<(), End> {
        let Ok(Some(NodeMessage { message })) = said else { return Err(self.left()) };
        let status = match message {
            Some(Said::Status(status)) => Some(status),
            Some(Said::Metrics(piece)) => {
                self.membership.connected.errand.take(piece);
                None
            }
            // Nothing that this server understands, but a sign of life.
            Some(Said::Hello(_)) | None => None,
        };
        self.membership.connected.heard(self.supplier.clock.now(), status);
        Ok(())
    }

    /// The agent has left: of its own accord, or because it was asked to.
    fn left(&self) -> End {
        match self.leaving {
            None => End::Agent,
            Some(Farewell::Shutdown) => End::Shutdown,
            Some(Farewell::Age) => End::Age,
        }
    }
}

impl Farewell {
    const fn words(self) -> &'static str {
        match self {
            Self::Shutdown => "the server is stopping",
            Self::Age => "the connection has reached --grpc-max-connection-age-duration",
        }
    }
}

/// Waits until the agent had better leave.
async fn farewell(shutdown: Shutdown, lifetime: Lifetime) -> Farewell {
    tokio::select! {
        // A shutdown makes every connection old.
        biased;
        () = shutdown.begun() => Farewell::Shutdown,
        () = lifetime.grown_old() => Farewell::Age,
    }
}

async fn reached(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}
