//! Gets credentials as soon as a pod that may have them is seen, usually before it has an IP.
//!
//! The watch offers what pods ask for; `--fetchers` workers take it from a queue of `--prefetch-buffer-size`. What
//! does not fit is dropped and counted: the pod then waits for STS when it first asks.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kiam_common::shutdown::Shutdown;
use prometheus::IntCounter;
use tokio::sync::Semaphore;

use super::Vault;
use crate::directory::Directory;
use crate::directory::pods::Demand;

/// What pods ask for and nobody has looked after yet. The same demand waits once, however many pods make it.
#[derive(Debug)]
pub struct PrefetchQueue {
    pending: Mutex<Pending>,
    /// One permit for each demand that waits.
    waiting: Semaphore,
    capacity: usize,
    dropped: IntCounter,
}

#[derive(Debug, Default)]
struct Pending {
    order: VecDeque<Demand>,
    queued: HashSet<Demand>,
}

impl PrefetchQueue {
    /// An empty queue.
    pub fn new(capacity: usize, dropped: IntCounter) -> Self {
        Self { pending: Mutex::default(), waiting: Semaphore::new(0), capacity, dropped }
    }

    /// Puts a demand in the queue; never waits.
    pub fn offer(&self, demand: Demand) {
        let mut pending = self.pending();
        if pending.queued.contains(&demand) {
            return;
        }
        if pending.order.len() >= self.capacity {
            self.dropped.inc();
            return;
        }
        pending.queued.insert(demand.clone());
        pending.order.push_back(demand);
        self.waiting.add_permits(1);
    }

    /// Takes the oldest demand, or waits for one. The semaphore is never closed, so there always will be one.
    async fn next(&self) -> Option<Demand> {
        self.waiting.acquire().await.ok()?.forget();
        let mut pending = self.pending();
        let demand = pending.order.pop_front()?;
        pending.queued.remove(&demand);
        Some(demand)
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One worker: warms the vault for one demand after the other until the shutdown.
pub async fn work(queue: Arc<PrefetchQueue>, directory: Arc<Directory>, vault: Arc<Vault>, shutdown: Shutdown) {
    let warm_all = async {
        while let Some(demand) = queue.next().await {
            // Policy first: an annotation alone must not make the server call STS. The vault logs what fails.
            if directory.permits(&demand) {
                let _ = vault.warm(&demand.identity).await;
            }
        }
    };
    tokio::select! {
        () = warm_all => {}
        () = shutdown.begun() => {}
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use prometheus::{IntCounter, Registry};
    use tokio::time::sleep;

    use super::*;
    use crate::fixtures::{self, READER, identity, namespace, pod};

    fn queue(capacity: usize) -> (Arc<PrefetchQueue>, IntCounter) {
        let dropped = IntCounter::new("dropped", "dropped").unwrap();
        (Arc::new(PrefetchQueue::new(capacity, dropped.clone())), dropped)
    }

    fn demand(role: &str) -> Demand {
        Demand { identity: identity(role), namespace: "team".into() }
    }

    #[tokio::test(start_paused = true)]
    async fn what_policy_allows_is_fetched_and_nothing_else() {
        let (vault, sts) = fixtures::vault(&Registry::new());
        let (directory, (queue, _), shutdown) = (fixtures::directory(), queue(10), Shutdown::new());
        directory.apply_namespace(&namespace(".*reader"));
        let worker = tokio::spawn(work(Arc::clone(&queue), Arc::clone(&directory), vault, shutdown.clone()));
        for fields in [pod("a", "10.0.0.1", Some("reader")), pod("b", "10.0.0.2", Some("writer"))] {
            queue.offer(directory.apply_pod(&fields).unwrap());
        }
        sleep(Duration::from_secs(1)).await;
        let asked: Vec<_> = sts.calls().into_iter().map(|identity| identity.arn.to_string()).collect();
        assert_eq!(asked, [READER]);
        shutdown.begin();
        worker.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn as_many_are_fetched_at_once_as_there_are_workers() {
        let (vault, sts) = fixtures::vault(&Registry::new());
        let (directory, (queue, _), shutdown) = (fixtures::directory(), queue(10), Shutdown::new());
        directory.apply_namespace(&namespace(".*"));
        sts.answer_after(Duration::from_secs(10));
        for role in ["a", "b", "c", "d", "e"] {
            queue.offer(demand(role));
        }
        for _ in 0..2 {
            tokio::spawn(work(Arc::clone(&queue), Arc::clone(&directory), Arc::clone(&vault), shutdown.clone()));
        }
        for calls in [2, 4, 5] {
            sleep(Duration::from_secs(9)).await;
            assert_eq!(sts.calls().len(), calls);
            sleep(Duration::from_secs(1)).await;
        }
        shutdown.begin();
    }

    #[tokio::test]
    async fn the_same_demand_waits_once() {
        let (queue, dropped) = queue(2);
        for _ in 0..100 {
            queue.offer(demand("reader"));
        }
        assert_eq!(queue.next().await, Some(demand("reader")));
        queue.offer(demand("reader"));
        assert_eq!(queue.next().await, Some(demand("reader")), "again, once it was taken");
        assert_eq!(dropped.get(), 0);
    }

    #[tokio::test]
    async fn what_does_not_fit_is_dropped_and_counted() {
        let (queue, dropped) = queue(2);
        for role in ["a", "b", "c", "d"] {
            queue.offer(demand(role));
        }
        assert_eq!(dropped.get(), 2);
        assert_eq!(queue.next().await, Some(demand("a")));
        assert_eq!(queue.next().await, Some(demand("b")));
    }
}
