//! Takes the startup taint (`--startup-taint`) from nodes whose agents are at work, so that no pod starts on a node
//! before its agent does. [`crate::grpc::fleet`] says which agents there are, [`rounds`] whose turn it is.
//!
//! What must always hold: a node keeps its taint until its agent has said, on a stream to this server, that its rules are
//! not broken; a stream whose node was looked at is not looked at again, so that the work grows with new streams only; no
//! other taint is touched.

#[cfg(feature = "testing")]
pub mod fake;
mod key;
pub mod kubernetes;
mod rounds;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use kiam_common::shutdown::Shutdown;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::metrics::StartupTaintMetrics;
pub use key::{NotAKey, TaintKey};
use rounds::{AT_ONCE, Rounds};

/// How often the agents are looked at.
const EVERY: Duration = Duration::from_secs(1);
/// How long one node may take.
const WITHIN: Duration = Duration::from_secs(5);

/// An agent that has a stream to this server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    /// Tells its stream from every other. A node that is made anew under the same name has another.
    pub stream: u64,
    /// Its node.
    pub node: Arc<str>,
    /// Whether it has said how it does, and that its rules are whole if it keeps any.
    pub is_at_work: bool,
}

/// The nodes of a cluster.
#[async_trait]
pub trait Nodes: Send + Sync + 'static {
    /// Takes all taints with this key from a node, whatever their values and effects. Whether there was one.
    async fn remove_taint(&self, node: &str, key: &TaintKey) -> Result<bool, NodeError>;
}

/// Why a node still has its taint, or may have.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct NodeError(pub String);

/// What came of looking at a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The taint was there and is gone.
    Removed,
    /// It was not there.
    Absent,
    /// It may still be there.
    Failed,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Removed, Self::Absent, Self::Failed];

    /// As a label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Removed => "removed",
            Self::Absent => "absent",
            Self::Failed => "failed",
        }
    }
}

/// Takes the taint away.
pub struct StartupTaint {
    key: TaintKey,
    nodes: Arc<dyn Nodes>,
    metrics: StartupTaintMetrics,
    rounds: Rounds,
}

impl StartupTaint {
    /// Takes taints with this key from these nodes.
    pub fn new(key: TaintKey, nodes: Arc<dyn Nodes>, metrics: StartupTaintMetrics) -> Self {
        Self { key, nodes, metrics, rounds: Rounds::default() }
    }

    /// Looks after the nodes of these agents until the shutdown.
    pub async fn keep(mut self, agents: impl Fn() -> Vec<Agent> + Send, shutdown: Shutdown) {
        let mut looks = interval(EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let looking = async {
            loop {
                looks.tick().await;
                // A full round may not be all of those who wait.
                while self.go_round(agents()).await == AT_ONCE {}
            }
        };
        tokio::select! {
            biased;
            () = shutdown.begun() => {}
            () = looking => {}
        }
    }

    /// Looks at the nodes whose turn it is. Returns how many these were.
    async fn go_round(&mut self, agents: Vec<Agent>) -> usize {
        let round = self.rounds.next(agents, Instant::now());
        let removals = join_all(round.iter().map(|agent| self.remove_from(&agent.node))).await;
        for (agent, removal) in round.iter().zip(removals) {
            self.take_note(agent, removal);
        }
        round.len()
    }

    async fn remove_from(&self, node: &str) -> Result<bool, NodeError> {
        let late = || Err(NodeError(format!("no answer within {} seconds", WITHIN.as_secs())));
        timeout(WITHIN, self.nodes.remove_taint(node, &self.key)).await.unwrap_or_else(|_| late())
    }

    fn take_note(&mut self, Agent { stream, node, .. }: &Agent, removal: Result<bool, NodeError>) {
        let taint = &self.key;
        match removal {
            Ok(was_there) => {
                self.rounds.settled(*stream);
                if was_there {
                    tracing::info!(%node, %taint, "the agent is at work: took the startup taint away");
                }
                self.metrics.looked(if was_there { Outcome::Removed } else { Outcome::Absent });
            }
            Err(error) => {
                let again_in = self.rounds.failed(*stream, Instant::now());
                tracing::warn!(%node, %taint, ?again_in, "could not take the startup taint away: {error}");
                self.metrics.looked(Outcome::Failed);
            }
        }
    }
}
