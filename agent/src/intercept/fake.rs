//! A back end without a kernel: tests say what is found and see what is done.

use std::io;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tokio::sync::Notify;

use super::backend::{Backend, Error, Found};

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Watch,
    Install,
    Check,
    Remove,
}

/// Clones are the same back end.
#[derive(Clone, Debug, Default)]
pub(crate) struct FakeBackend {
    state: Arc<Mutex<State>>,
    changed: Arc<Notify>,
}

#[derive(Debug, Default)]
struct State {
    found: Option<Found>,
    refuses: bool,
    calls: Vec<Call>,
}

impl FakeBackend {
    /// What checks find from now on, until something is installed or removed.
    pub(crate) fn found(&self, found: Found) {
        self.state.lock().unwrap().found = Some(found);
    }

    /// Whether nothing can be written from now on.
    pub(crate) fn refuse(&self, refuses: bool) {
        self.state.lock().unwrap().refuses = refuses;
    }

    /// Tells of a change.
    pub(crate) fn change(&self) {
        self.changed.notify_one();
    }

    /// How often this was done.
    pub(crate) fn count(&self, call: Call) -> usize {
        self.state.lock().unwrap().calls.iter().filter(|done| **done == call).count()
    }

    fn write(&self, call: Call, found: Found) -> Result<(), Error> {
        let mut state = self.state.lock().unwrap();
        state.calls.push(call);
        if state.refuses {
            return Err(Error::kernel("adding the rule", io::ErrorKind::PermissionDenied.into()));
        }
        state.found = Some(found);
        Ok(())
    }
}

#[async_trait]
impl Backend for FakeBackend {
    async fn install(&mut self) -> Result<(), Error> {
        self.write(Call::Install, Found::Whole { caught: 0, closed: 0 })
    }

    async fn remove(&mut self) -> Result<(), Error> {
        self.write(Call::Remove, Found::Nothing)
    }

    async fn check(&mut self) -> Result<Found, Error> {
        let mut state = self.state.lock().unwrap();
        state.calls.push(Call::Check);
        Ok(state.found.clone().unwrap_or(Found::Nothing))
    }

    async fn watch(&mut self) -> Result<(), Error> {
        self.state.lock().unwrap().calls.push(Call::Watch);
        Ok(())
    }

    async fn changed(&mut self) -> Result<(), Error> {
        self.changed.notified().await;
        Ok(())
    }
}
