//! A sink that keeps what it is given, for tests.

use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::{EventSink, PodEvent, SinkError};

/// What was written, in order.
#[derive(Debug, Default)]
pub struct FakeEvents {
    written: Mutex<Written>,
}

/// Events by how they were written.
#[derive(Clone, Debug, Default)]
pub struct Written {
    /// Created.
    pub created: Vec<PodEvent>,
    /// Updated.
    pub updated: Vec<PodEvent>,
    /// The API refuses from now on.
    pub refuse: bool,
}

impl FakeEvents {
    /// What was written so far; may be changed.
    pub fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl EventSink for FakeEvents {
    async fn create(&self, event: &PodEvent) -> Result<(), SinkError> {
        let mut written = self.written();
        if written.refuse {
            return Err(SinkError("forbidden".into()));
        }
        written.created.push(event.clone());
        Ok(())
    }

    async fn update(&self, event: &PodEvent) -> Result<(), SinkError> {
        self.written().updated.push(event.clone());
        Ok(())
    }
}
