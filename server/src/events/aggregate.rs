//! Makes few events of many occurrences: the first one on a pod is written at once, repetitions are counted and
//! written every few seconds, and no more than so many writes are made in that time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kiam_common::clock::Clock;
use kiam_common::shutdown::Shutdown;
use tokio::sync::mpsc;

use super::{EventReason, EventSink, Occurrence, PodEvent, SinkError};
use crate::directory::uid::PodUid;
use crate::metrics::EventMetrics;

/// How often repetitions are written, and over which the number of writes is limited.
const PERIOD: Duration = Duration::from_secs(10);
/// The most writes in a period.
const WRITES_PER_PERIOD: u32 = 100;
/// For how long repetitions are added to the same event. Well below the hour for which the API keeps events.
const SAME_EVENT_FOR: Duration = Duration::from_mins(10);
/// The longest that one write may take.
const WRITE_DEADLINE: Duration = Duration::from_secs(5);

type Key = (PodUid, EventReason);

pub(super) struct Aggregator {
    sink: Arc<dyn EventSink>,
    clock: Clock,
    metrics: EventMetrics,
    events: HashMap<Key, Counted>,
    writes_left: u32,
}

struct Counted {
    event: PodEvent,
    unwritten: bool,
}

impl Aggregator {
    pub(super) fn new(sink: Arc<dyn EventSink>, clock: Clock, metrics: EventMetrics) -> Self {
        Self { sink, clock, metrics, events: HashMap::new(), writes_left: WRITES_PER_PERIOD }
    }

    pub(super) async fn run(mut self, mut occurrences: mpsc::Receiver<Occurrence>, shutdown: Shutdown) {
        let mut periods = tokio::time::interval(PERIOD);
        loop {
            tokio::select! {
                biased;
                () = shutdown.begun() => return,
                _ = periods.tick() => self.begin_period().await,
                occurrence = occurrences.recv() => match occurrence {
                    Some(occurrence) => self.take(occurrence).await,
                    None => return,
                },
            }
        }
    }

    async fn take(&mut self, occurrence: Occurrence) {
        let key = (occurrence.pod.uid.clone(), occurrence.reason);
        if let Some(counted) = self.events.get_mut(&key) {
            counted.event.count = counted.event.count.saturating_add(1);
            counted.event.last = occurrence.at;
            counted.event.message = occurrence.message;
            counted.unwritten = true;
            return;
        }
        if !self.may_write() {
            self.metrics.dropped.inc();
            return;
        }
        let event = first(occurrence);
        let written = deadline(self.sink.create(&event)).await;
        // One that could not be created is not remembered: the next occurrence tries again.
        if self.count(&event, &written) {
            self.events.insert(key, Counted { event, unwritten: false });
        }
    }

    async fn begin_period(&mut self) {
        self.writes_left = WRITES_PER_PERIOD;
        let now = self.clock.now();
        let mut repeated: Vec<Key> = Vec::new();
        self.events.retain(|key, counted| {
            if counted.unwritten {
                repeated.push(key.clone());
            }
            counted.unwritten || !is_old(&counted.event, now)
        });
        for key in repeated {
            if !self.may_write() {
                return;
            }
            let Some(counted) = self.events.get_mut(&key) else { continue };
            counted.unwritten = false;
            let event = counted.event.clone();
            let written = deadline(self.sink.update(&event)).await;
            self.count(&event, &written);
            if is_old(&event, now) {
                self.events.remove(&key);
            }
        }
    }

    fn may_write(&mut self) -> bool {
        let may = self.writes_left > 0;
        self.writes_left = self.writes_left.saturating_sub(1);
        may
    }

    fn count(&self, event: &PodEvent, written: &Result<(), SinkError>) -> bool {
        match written {
            Ok(()) => self.metrics.posted.inc(),
            Err(error) => {
                self.metrics.dropped.inc();
                tracing::warn!(pod = %event.pod.name, namespace = %event.pod.namespace,
                    event = event.reason.as_str(), "could not write the event: {error}");
            }
        }
        written.is_ok()
    }
}

fn first(occurrence: Occurrence) -> PodEvent {
    let Occurrence { pod, reason, message, at } = occurrence;
    // An event's name is a DNS subdomain of at most 253 characters, like the pod's.
    let pod_name: String = pod.name.chars().take(200).collect();
    let name = format!("{}.{:x}", pod_name.trim_end_matches(['.', '-']), at.as_nanosecond());
    PodEvent { name, pod, reason, message, count: 1, first: at, last: at }
}

fn is_old(event: &PodEvent, now: Timestamp) -> bool {
    now.duration_since(event.first).unsigned_abs() > SAME_EVENT_FOR
}

async fn deadline(write: impl Future<Output = Result<(), SinkError>>) -> Result<(), SinkError> {
    let late = || Err(SinkError(format!("no answer within {} seconds", WRITE_DEADLINE.as_secs())));
    tokio::time::timeout(WRITE_DEADLINE, write).await.unwrap_or_else(|_| late())
}
