//! What the server counts. One struct for each component that counts something, all created in [`crate::app`]; every
//! series with a bounded set of labels is there at 0 from the first scrape.

mod connections;
mod fleet_metrics;
mod names;
mod node_binding;
mod nodes;
mod requests;
mod roles;
mod startup_taint;
mod streams;
mod vault;

use std::sync::Arc;

use clap::ValueEnum;
pub use connections::connections;
pub use fleet_metrics::{FleetMetrics, PeerMetrics};
use kiam_common::registry::Registry;
pub use node_binding::BindingMetrics;
pub use nodes::fleet;
use prometheus::core::Collector;
use prometheus::{Error, GaugeVec, IntCounter, IntCounterVec, IntGauge, Opts, PullingGauge};
pub use requests::RequestMetrics;
pub use roles::roles;
pub use startup_taint::StartupTaintMetrics;
pub use streams::StreamMetrics;
pub use vault::{VaultMetrics, census};

use crate::directory::Directory;

/// Series that `--metrics-enable` turns on, as there are as many as the cluster has of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Costly {
    /// Requests, errors and the first expiry of each role
    Roles,
    /// Requests of each namespace, allowed and refused
    Namespaces,
    /// The agent of each node
    Nodes,
}

/// Whether the Kubernetes API answered the last request, whatever it said; 0 until it first has.
pub fn kubernetes_reachable(registry: &Registry) -> Result<IntGauge, Error> {
    let help = "1 if the Kubernetes API answered the last request";
    registered(registry, IntGauge::new("kiam_kubernetes_reachable", help)?)
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
    let gauge = PullingGauge::new(name, help, Box::new(move || float(read())))?;
    registry.register(Box::new(gauge))
}

fn counter(registry: &Registry, name: &str, help: &str) -> Result<IntCounter, Error> {
    registered(registry, IntCounter::new(name, help)?)
}

fn counters(name: &str, help: &str, label: &str) -> Result<IntCounterVec, Error> {
    IntCounterVec::new(Opts::new(name, help), &[label])
}

fn gauges(name: &str, help: &str, label: &str) -> Result<GaugeVec, Error> {
    GaugeVec::new(Opts::new(name, help), &[label])
}

fn float(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

fn registered<C: Collector + Clone + 'static>(registry: &Registry, collector: C) -> Result<C, Error> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}
