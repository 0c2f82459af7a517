//! How many calls a connection has under way, so that one without any can be closed.

use std::time::Duration;

use tokio::sync::watch;

/// The calls of one connection.
#[derive(Debug, Default)]
pub(super) struct Activity {
    calls: watch::Sender<usize>,
}

impl Activity {
    /// Counts a call for as long as what it returns lives.
    pub(super) fn begin(&self) -> Call {
        self.calls.send_modify(|calls| *calls += 1);
        Call { calls: self.calls.clone() }
    }

    /// Whether there is a call.
    pub(super) fn is_active(&self) -> bool {
        *self.calls.borrow() > 0
    }

    /// Waits until there has been no call for that long.
    pub(super) async fn none_for(&self, duration: Duration) {
        let mut calls = self.calls.subscribe();
        loop {
            // The sender lives in `self`, so neither wait ends early.
            drop(calls.wait_for(|calls| *calls == 0).await);
            tokio::select! {
                () = tokio::time::sleep(duration) => return,
                _ = calls.changed() => {}
            }
        }
    }
}

/// A call under way.
#[derive(Debug)]
pub(super) struct Call {
    calls: watch::Sender<usize>,
}

impl Drop for Call {
    fn drop(&mut self) {
        self.calls.send_modify(|calls| *calls -= 1);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, sleep};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn idleness_begins_when_the_last_call_ends() {
        let activity = Activity::default();
        let (start, first, second) = (Instant::now(), activity.begin(), activity.begin());
        let calls = async {
            sleep(Duration::from_secs(10)).await;
            drop(first);
            sleep(Duration::from_secs(20)).await;
            drop(second);
        };
        tokio::join!(calls, activity.none_for(Duration::from_secs(15)));
        assert_eq!(start.elapsed().as_secs(), 45);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_in_between_starts_the_wait_over() {
        let activity = Activity::default();
        let start = Instant::now();
        let calls = async {
            sleep(Duration::from_secs(10)).await;
            drop(activity.begin());
        };
        tokio::join!(calls, activity.none_for(Duration::from_secs(15)));
        assert_eq!(start.elapsed().as_secs(), 25);
    }
}
