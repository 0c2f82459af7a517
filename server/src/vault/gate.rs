//! Where every attempt to call STS waits for its turn. The rules are those of [`super::turnstile`]; here are the tasks
//! that wait.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kiam_common::clock::Clock;
use tokio::sync::oneshot;

use super::line::{Line, Ticket};
use super::rank::Rank;
use super::turnstile::{Limits, Turn, Turnstile};

/// The gate.
#[derive(Debug)]
pub(super) struct Gate {
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    turnstile: Turnstile,
    waiting: HashMap<Ticket, oneshot::Sender<Pass>>,
    /// Somebody will look again when the rate allows the next.
    alarm_set: bool,
}

/// The right to make one attempt; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Pass(Arc<Gate>);

impl Drop for Pass {
    fn drop(&mut self) {
        self.0.state().turnstile.leave();
        self.0.admit();
    }
}

impl Gate {
    pub(super) fn new(limits: Limits, clock: Clock) -> Self {
        let turnstile = Turnstile::new(limits, clock.now());
        Self { clock, state: Mutex::new(State { turnstile, waiting: HashMap::new(), alarm_set: false }) }
    }

    /// Joins the line; what this returns has the pass once it is its turn, and fails only if the gate is gone.
    pub(super) fn join(self: &Arc<Self>, ticket: Ticket, rank: Rank) -> oneshot::Receiver<Pass> {
        let (sender, turn) = oneshot::channel();
        {
            let mut state = self.state();
            state.turnstile.line.join(ticket, rank, self.clock.now());
            state.waiting.insert(ticket, sender);
        }
        self.admit();
        turn
    }

    /// Moves a call forward in the line.
    pub(super) fn raise(self: &Arc<Self>, ticket: Ticket, rank: Rank) {
        self.state().turnstile.line.raise(ticket, rank, self.clock.now());
        self.admit();
    }

    /// Reads the line.
    pub(super) fn line<T>(&self, read: impl FnOnce(&Line) -> T) -> T {
        read(&self.state().turnstile.line)
    }

    /// Lets in all whose turn it is.
    fn admit(self: &Arc<Self>) {
        let (admitted, wait) = self.state().turns(&self.clock);
        for turn in admitted {
            // A pass that nobody takes any more gives itself back.
            let _ = turn.send(Pass(Arc::clone(self)));
        }
        if let Some(wait) = wait {
            let gate = Arc::clone(self);
            tokio::spawn(async move {
                tokio::time::sleep(wait).await;
                gate.state().alarm_set = false;
                gate.admit();
            });
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Those whose turn it is, and how long until somebody must look again.
    fn turns(&mut self, clock: &Clock) -> (Vec<oneshot::Sender<Pass>>, Option<std::time::Duration>) {
        let mut admitted = Vec::new();
        loop {
            match self.turnstile.turn(clock.now()) {
                Turn::Go(ticket) => admitted.extend(self.waiting.remove(&ticket)),
                Turn::After(wait) => {
                    let set_before = std::mem::replace(&mut self.alarm_set, true);
                    return (admitted, (!set_before).then_some(wait));
                }
                Turn::Nobody => return (admitted, None),
            }
        }
    }
}
