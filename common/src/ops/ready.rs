//! What a program is still waiting for, by name.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::watch;

/// Whether the program is ready: when nothing blocks it. Clones are the same readiness.
#[derive(Clone, Debug)]
pub struct Readiness {
    blocked_by: Arc<watch::Sender<BTreeSet<&'static str>>>,
}

impl Default for Readiness {
    fn default() -> Self {
        Self { blocked_by: Arc::new(watch::Sender::new(BTreeSet::new())) }
    }
}

impl Readiness {
    /// Something to wait for, set until it is cleared. Its name is shown by `/ready`; each has its own.
    pub fn blocker(&self, name: &'static str) -> Blocker {
        let blocker = Blocker { name, readiness: self.clone() };
        blocker.set();
        blocker
    }

    /// The names of what is waited for, sorted.
    pub fn waiting_for(&self) -> Vec<&'static str> {
        self.blocked_by.borrow().iter().copied().collect()
    }

    /// Whether nothing is waited for.
    pub fn is_ready(&self) -> bool {
        self.blocked_by.borrow().is_empty()
    }

    /// Waits until nothing is waited for.
    pub async fn ready(&self) {
        // The sender lives in `self`, so this cannot end early.
        let mut blocked_by = self.blocked_by.subscribe();
        let _ready = blocked_by.wait_for(BTreeSet::is_empty).await;
    }
}

/// One thing that a program waits for.
#[derive(Clone, Debug)]
pub struct Blocker {
    name: &'static str,
    readiness: Readiness,
}

impl Blocker {
    /// It is there: no longer waited for.
    pub fn clear(&self) {
        self.readiness.blocked_by.send_if_modified(|names| names.remove(self.name));
    }

    /// It is not there, or no longer: waited for again.
    pub fn set(&self) {
        self.readiness.blocked_by.send_if_modified(|names| names.insert(self.name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn ready_is_when_every_blocker_is_cleared() {
        let readiness = Readiness::default();
        let (pods, namespaces) = (readiness.blocker("pods"), readiness.blocker("namespaces"));
        assert_eq!(readiness.waiting_for(), ["namespaces", "pods"]);
        let waiting = tokio::spawn({
            let readiness = readiness.clone();
            async move { readiness.ready().await }
        });
        pods.clear();
        assert!(!readiness.is_ready());
        namespaces.clear();
        waiting.await.unwrap();
        assert!(readiness.is_ready());
        pods.set();
        assert_eq!(readiness.waiting_for(), ["pods"]);
    }
}
