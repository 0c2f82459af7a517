//! For what is told once in a while, however often it happens: log lines that a stranger could otherwise have written
//! without end.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// Says when something is due to be told again. Takes no lock.
#[derive(Debug)]
pub struct Rarely {
    every: Duration,
    since: Instant,
    /// In milliseconds after `since`.
    due: AtomicU64,
}

impl Rarely {
    /// Due at once, and then again after each `every`.
    pub fn every(every: Duration) -> Self {
        Self { every, since: Instant::now(), due: AtomicU64::new(0) }
    }

    /// Whether it is due: true for one caller only.
    pub fn is_due(&self) -> bool {
        let now = self.since.elapsed();
        let due = self.due.load(Ordering::Relaxed);
        let next = millis(now.saturating_add(self.every));
        millis(now) >= due && self.due.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_due_at_once_and_then_once_in_each_span() {
        let rarely = Rarely::every(Duration::from_mins(1));
        for _ in 0..3 {
            assert!(rarely.is_due());
            assert!(!rarely.is_due());
            tokio::time::advance(Duration::from_secs(59)).await;
            assert!(!rarely.is_due());
            tokio::time::advance(Duration::from_secs(1)).await;
        }
    }
}
