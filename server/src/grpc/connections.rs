//! The connections that are open, so that they can be counted. [`super::connection`] enters them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::activity::Activity;

/// The connections that are open.
#[derive(Debug, Default)]
pub struct Connections {
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    activities: HashMap<u64, Arc<Activity>>,
    last_number: u64,
}

/// A connection's place among the others, for as long as it lives.
#[derive(Debug)]
pub(super) struct Entered {
    connections: Arc<Connections>,
    number: u64,
}

impl Connections {
    /// A connection begins.
    pub(super) fn enter(self: &Arc<Self>, activity: &Arc<Activity>) -> Entered {
        let mut open = self.open();
        open.last_number += 1;
        let number = open.last_number;
        open.activities.insert(number, Arc::clone(activity));
        Entered { connections: Arc::clone(self), number }
    }

    /// How many connections have a call under way, and how many have none.
    pub(crate) fn active_and_idle(&self) -> (usize, usize) {
        let open = self.open();
        let active = open.activities.values().filter(|activity| activity.is_active()).count();
        (active, open.activities.len() - active)
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.connections.open().activities.remove(&self.number);
    }
}
