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
