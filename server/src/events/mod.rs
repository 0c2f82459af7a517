//! Kubernetes events on pods that were refused, so that `kubectl describe pod` says why.
//!
//! [`crate::issue`] records; a task of its own writes. Recording never waits: what does not fit is dropped and counted.
//! Repetitions of the same reason on the same pod become one event with a count.

mod aggregate;
#[cfg(feature = "testing")]
pub mod fake;
pub mod kubernetes;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use kiam_common::clock::Clock;
use kiam_common::shutdown::Shutdown;
use tokio::sync::mpsc;

use crate::directory::pods::Pod;
use crate::error::Error;
use crate::metrics::EventMetrics;
use aggregate::Aggregator;

/// Events waiting to be written.
const QUEUE: usize = 1000;
/// The longest message, in characters; annotations may be of any length.
const LONGEST_MESSAGE: usize = 1000;

/// What kind of refusal an event tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventReason {
    /// Policy denies the role.
    RoleForbidden,
    /// STS gave no credentials.
    CredentialError,
    /// The pod's own annotations cannot be understood.
    InvalidAnnotation,
}

impl EventReason {
    /// The event's `reason`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RoleForbidden => "KiamRoleForbidden",
            Self::CredentialError => "KiamCredentialError",
            Self::InvalidAnnotation => "KiamInvalidAnnotation",
        }
    }
}

/// An event as it is written: the last of `count` occurrences.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodEvent {
    /// `metadata.name` of the event.
    pub name: String,
    /// The pod that it is about.
    pub pod: Arc<Pod>,
    /// Why.
    pub reason: EventReason,
    /// For the pod's owner.
    pub message: String,
    /// How often it occurred.
    pub count: i32,
    /// The first occurrence.
    pub first: Timestamp,
    /// The last occurrence.
    pub last: Timestamp,
}

/// Where events are written.
#[async_trait]
pub trait EventSink: Send + Sync + 'static {
    /// Writes an event that is new.
    async fn create(&self, event: &PodEvent) -> Result<(), SinkError>;
    /// Writes the count, message and time of an event that was created before.
    async fn update(&self, event: &PodEvent) -> Result<(), SinkError>;
}

/// Why an event was not written.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct SinkError(pub String);

/// An occurrence on its way to the sink.
#[derive(Debug)]
struct Occurrence {
    pod: Arc<Pod>,
    reason: EventReason,
    message: String,
    at: Timestamp,
}

/// Takes note of refusals.
#[derive(Clone, Debug)]
pub struct Recorder {
    queue: mpsc::Sender<Occurrence>,
    clock: Clock,
    metrics: EventMetrics,
}

impl Recorder {
    /// A recorder, and the task that writes what it takes note of.
    pub fn new(
        sink: Arc<dyn EventSink>,
        clock: Clock,
        metrics: EventMetrics,
        shutdown: Shutdown,
    ) -> (Self, impl Future<Output = ()> + Send) {
        let (queue, occurrences) = mpsc::channel(QUEUE);
        let aggregator = Aggregator::new(sink, clock.clone(), metrics.clone());
        (Self { queue, clock, metrics }, aggregator.run(occurrences, shutdown))
    }

    /// Takes note of a refusal, if its kind is the pod's owner's business.
    pub fn refused(&self, pod: &Arc<Pod>, role: &str, error: &Error) {
        let (reason, message) = match error {
            Error::Forbidden(denial) => {
                (EventReason::RoleForbidden, format!("failed assuming role {role:?}: {denial}"))
            }
            Error::Sts(error) => (EventReason::CredentialError, format!("failed retrieving credentials: {error}")),
            Error::InvalidAnnotation(error) => (EventReason::InvalidAnnotation, error.to_string()),
            Error::NotReady { .. }
            | Error::Stopping
            | Error::BadHello(_)
            | Error::BadIp(_)
            | Error::BadSubject
            | Error::BadRole(_)
            | Error::PodNotFound(_)
            | Error::PodAmbiguous { .. }
            | Error::NoRole
            | Error::Binding(_)
            | Error::NamespaceUnknown(_) => return,
        };
        let message = message.chars().take(LONGEST_MESSAGE).collect();
        let occurrence = Occurrence { pod: Arc::clone(pod), reason, message, at: self.clock.now() };
        if self.queue.try_send(occurrence).is_err() {
            self.metrics.dropped.inc();
        }
    }
}
