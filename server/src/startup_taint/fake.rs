//! Nodes as a test says, which record who was asked about.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::sleep;

use super::{NodeError, Nodes, TaintKey};

/// Nodes that have one taint or none.
#[derive(Debug, Default)]
pub struct FakeNodes {
    script: Mutex<Script>,
    /// Held by each question that is under way.
    under_way: Arc<()>,
}

/// What the nodes do, and what was asked of them.
#[derive(Debug, Default)]
pub struct Script {
    /// The nodes that have the taint.
    pub tainted: BTreeSet<String>,
    /// Every change is refused from now on.
    pub refuse: bool,
    /// How long each answer takes from now on.
    pub delay: Duration,
    /// The nodes asked about, in order.
    pub asked: Vec<String>,
    /// The most that were asked about at a time.
    pub most_at_once: usize,
}

impl FakeNodes {
    /// What they do and did; may be changed.
    pub fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(&self, node: &str) -> Duration {
        let mut script = self.script();
        script.asked.push(node.into());
        script.most_at_once = script.most_at_once.max(Arc::strong_count(&self.under_way) - 1);
        script.delay
    }
}

#[async_trait]
impl Nodes for FakeNodes {
    async fn remove_taint(&self, node: &str, _: &TaintKey) -> Result<bool, NodeError> {
        let _under_way = Arc::clone(&self.under_way);
        sleep(self.ask(node)).await;
        let mut script = self.script();
        if script.refuse { Err(NodeError("forbidden".into())) } else { Ok(script.tainted.remove(node)) }
    }
}
