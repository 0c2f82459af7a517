//! What the server counts. One struct for each component that counts something, all created in [`crate::app`]; every
//! series with a bounded set of labels is there at 0 from the first scrape.

mod node_binding;
mod streams;
mod vault;

use std::sync::Arc;

use kiam_common::reason::Reason;
pub use node_binding::BindingMetrics;
use prometheus::core::Collector;
use prometheus::{Error, IntCounter, IntCounterVec, Opts, PullingGauge, Registry};
pub use streams::{StreamMetrics, fleet};
pub use vault::{VaultMetrics, census};

use crate::directory::Directory;

/// Counts requests that were answered with a refusal.
#[derive(Clone, Debug)]
pub struct RequestMetrics {
    refused: IntCounterVec,
}

impl RequestMetrics {
    /// Registers the series.
    pub fn new(registry: &Registry) -> Result<Self, Error> {
        let refused = registered(registry, counters("kiam_requests_refused_total", "Requests refused", "reason")?)?;
        for reason in Reason::ALL {
            refused.with_label_values(&[reason.as_str()]);
        }
        Ok(Self { refused })
    }

    /// Counts one refusal.
    pub fn refused(&self, reason: Reason) {
        self.refused.with_label_values(&[reason.as_str()]).inc();
    }
}

/// Counts what becomes of Kubernetes events.
#[derive(Clone, Debug)]
pub struct EventMetrics {
    /// Events written to the API.
    pub posted: IntCounter,
    /// Events not written: queue full, too many, or refused by the API.
    pub dropped: IntCounter,
}

impl EventMetrics {
    /// Registers the series.
    pub fn new(registry: &Registry) -> Result<Self, Error> {
        Ok(Self {
            posted: counter(registry, "kiam_k8s_events_posted_total", "Kubernetes events written")?,
            dropped: counter(registry, "kiam_k8s_events_dropped_total", "Kubernetes events given up")?,
        })
    }
}

/// Counts what the Kubernetes watches meet.
#[derive(Clone, Debug)]
pub struct WatchMetrics {
    errors: IntCounterVec,
    undecodable: IntCounterVec,
}

impl WatchMetrics {
    /// Registers the series for each resource that is watched.
    pub fn new(registry: &Registry, resources: &[&str]) -> Result<Self, Error> {
        let errors = counters("kiam_k8s_watch_errors_total", "Failures of a list or watch", "resource")?;
        let undecodable = counters("kiam_k8s_undecodable_objects_total", "Objects that were skipped", "resource")?;
        let metrics = Self { errors: registered(registry, errors)?, undecodable: registered(registry, undecodable)? };
        for resource in resources {
            metrics.errors.with_label_values(&[*resource]);
            metrics.undecodable.with_label_values(&[*resource]);
        }
        Ok(metrics)
    }

    /// Counts a failed list or watch.
    pub fn failed(&self, resource: &str) {
        self.errors.with_label_values(&[resource]).inc();
    }

    /// Counts an object that could not be decoded.
    pub fn skipped(&self, resource: &str) {
        self.undecodable.with_label_values(&[resource]).inc();
    }
}

/// Sizes, read when somebody scrapes.
pub fn sizes(registry: &Registry, directory: &Arc<Directory>) -> Result<(), Error> {
    let (pods, namespaces) = (Arc::clone(directory), Arc::clone(directory));
    size(registry, "kiam_k8s_pods", "Pods that can have a role", move || pods.pod_count())?;
    size(registry, "kiam_k8s_namespaces", "Namespaces known", move || namespaces.namespace_count())
}

fn size(
    registry: &Registry,
    name: &str,
    help: &str,
    read: impl Fn() -> usize + Send + Sync + 'static,
) -> Result<(), Error> {
    let gauge = PullingGauge::new(name, help, Box::new(move || f64::from(u32::try_from(read()).unwrap_or(u32::MAX))))?;
    registry.register(Box::new(gauge))
}

fn counter(registry: &Registry, name: &str, help: &str) -> Result<IntCounter, Error> {
    registered(registry, IntCounter::new(name, help)?)
}

fn counters(name: &str, help: &str, label: &str) -> Result<IntCounterVec, Error> {
    IntCounterVec::new(Opts::new(name, help), &[label])
}

fn registered<C: Collector + Clone + 'static>(registry: &Registry, collector: C) -> Result<C, Error> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}
