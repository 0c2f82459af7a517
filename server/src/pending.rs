//! What somebody has yet to look at: a set that many add to and one takes as a whole. Where the same thing is added
//! many times before it is taken, it is taken once, so that a slow taker is behind by what there is, not by how often
//! it changed.

use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

/// Things to look at, of one taker.
#[derive(Debug, Default)]
pub(crate) struct Pending<T> {
    things: Mutex<T>,
    added: Notify,
}

impl<T: Default> Pending<T> {
    /// Adds things, and wakes the taker.
    pub(crate) fn add(&self, add: impl FnOnce(&mut T)) {
        add(&mut self.things.lock().unwrap_or_else(PoisonError::into_inner));
        self.added.notify_one();
    }

    /// Takes all of it, as soon as there is something. Given up before it is done, it has taken nothing.
    pub(crate) async fn take(&self) -> T {
        self.added.notified().await;
        std::mem::take(&mut *self.things.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_added_often_is_taken_once() {
        let pending = Pending::<BTreeSet<u8>>::default();
        for number in [1, 2, 1] {
            pending.add(|numbers| numbers.extend([number]));
        }
        assert_eq!(pending.take().await, [1, 2].into());
        let more = tokio::time::timeout(Duration::from_secs(1), pending.take()).await;
        assert!(more.is_err(), "there is no more");
    }

    #[tokio::test(start_paused = true)]
    async fn the_taker_is_woken() {
        let pending = Pending::<BTreeSet<u8>>::default();
        let add = async {
            tokio::task::yield_now().await;
            pending.add(|numbers| numbers.extend([1]));
        };
        let (taken, ()) = tokio::join!(pending.take(), add);
        assert_eq!(taken, [1].into());
    }
}
