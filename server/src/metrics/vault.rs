//! What the vault counts, and its census, taken at each scrape.

use std::sync::Arc;

use kiam_common::registry::Registry;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Error, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramTimer, IntCounter, IntCounterVec};
use prometheus::{IntGauge, exponential_buckets};

use super::{counter, counters, float, gauges, registered};
use crate::sts::{StsError, StsErrorKind};
use crate::vault::Vault;

/// From a call on the same machine to the longest that a request waits, in seconds.
const WAIT_BUCKETS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];
/// The outcome of what did not fail.
const SUCCESS: &str = "success";

/// Counts what the vault does.
#[derive(Clone, Debug)]
pub struct VaultMetrics {
    /// Answers from memory.
    pub hits: IntCounter,
    /// Answers that waited for STS.
    pub misses: IntCounter,
    /// Calls that brought no credentials, all attempts included.
    pub issuing_errors: IntCounter,
    /// Identities pushed out of a full cache.
    pub evicted: IntCounter,
    /// Pods whose credentials were not fetched ahead at once.
    pub dropped: IntCounter,
    attempts: IntCounterVec,
    refreshes: IntCounterVec,
    timing: Histogram,
    current: IntGauge,
    reachable: IntGauge,
    wait: Histogram,
    queue: Histogram,
}

impl VaultMetrics {
    /// Registers the series.
    pub fn new(registry: &Registry) -> Result<Self, Error> {
        let timing = HistogramOpts::new("kiam_sts_assumerole_timing_seconds", "Time each AssumeRole took")
            .buckets(exponential_buckets(0.001, 2.0, 13)?);
        let reachable = IntGauge::new("kiam_sts_reachable", "0 if the last AssumeRole call got no answer")?;
        // A server whose pods ask for nothing calls nobody.
        reachable.set(1);
        let waits = |name: &str, help: &str| {
            let waits = HistogramOpts::new(name, help).buckets(WAIT_BUCKETS.to_vec());
            registered(registry, Histogram::with_opts(waits)?)
        };
        let dropped = "Pods whose credentials were not fetched ahead at once: queue or cache full";
        Ok(Self {
            hits: counter(registry, "kiam_sts_cache_hit_total", "Credentials answered from the cache")?,
            misses: counter(registry, "kiam_sts_cache_miss_total", "Credentials that had to be fetched")?,
            issuing_errors: counter(registry, "kiam_sts_issuing_errors_total", "Credentials that STS did not give")?,
            evicted: counter(registry, "kiam_vault_evicted_total", "Role sessions pushed out of the full cache")?,
            dropped: counter(registry, "kiam_k8s_dropped_pods_total", dropped)?,
            attempts: outcomes(registry, "kiam_sts_attempts_total", "AssumeRole attempts by outcome")?,
            refreshes: outcomes(registry, "kiam_vault_refreshes_total", "Renewals of held credentials by outcome")?,
            timing: registered(registry, Histogram::with_opts(timing)?)?,
            current: registered(registry, IntGauge::new("kiam_sts_assumerole_current", "AssumeRole calls now")?)?,
            reachable: registered(registry, reachable)?,
            wait: waits("kiam_vault_wait_seconds", "Time that requests waited for credentials that were not held")?,
            queue: waits("kiam_vault_queue_seconds", "Time that AssumeRole attempts waited for their turn")?,
        })
    }

    /// Counts an AssumeRole attempt as under way for as long as what it returns lives.
    pub(crate) fn calling(&self) -> Calling {
        self.current.inc();
        Calling { current: self.current.clone(), _timer: self.timing.start_timer() }
    }

    /// A request waits for credentials until what this returns is dropped.
    pub(crate) fn waiting(&self) -> HistogramTimer {
        self.wait.start_timer()
    }

    /// An AssumeRole attempt waits for its turn until what this returns is dropped.
    pub(crate) fn queueing(&self) -> HistogramTimer {
        self.queue.start_timer()
    }

    /// Counts an AssumeRole attempt that is over.
    pub(crate) fn attempted(&self, error: Option<&StsError>) {
        self.reachable.set(error.is_none_or(StsError::is_answer).into());
        self.attempts.with_label_values(&[outcome(error)]).inc();
    }

    /// Counts a renewal that is over.
    pub(crate) fn refreshed(&self, error: Option<&StsError>) {
        self.refreshes.with_label_values(&[outcome(error)]).inc();
    }
}

/// An AssumeRole attempt under way.
#[derive(Debug)]
pub(crate) struct Calling {
    current: IntGauge,
    _timer: HistogramTimer,
}

impl Drop for Calling {
    fn drop(&mut self) {
        self.current.dec();
    }
}

/// Takes the vault's census at each scrape.
pub fn census(registry: &Registry, vault: &Arc<Vault>) -> Result<(), Error> {
    registry.register(Box::new(CensusTaker {
        vault: Arc::clone(vault),
        held: Gauge::new("kiam_sts_cacheSize", "Role sessions in the cache")?,
        entries: gauges("kiam_vault_entries", "Role identities by state", "state")?,
        soonest_end: Gauge::new("kiam_vault_soonest_expiry_seconds", "Until the first credentials held expire")?,
        queue: gauges("kiam_vault_queue_depth", "AssumeRole calls that wait for their turn, by priority", "priority")?,
        oldest: Gauge::new(
            "kiam_vault_oldest_waiting_seconds",
            "How long the first call for a waiting pod has waited",
        )?,
    }))
}

struct CensusTaker {
    vault: Arc<Vault>,
    held: Gauge,
    entries: GaugeVec,
    soonest_end: Gauge,
    queue: GaugeVec,
    oldest: Gauge,
}

impl Collector for CensusTaker {
    fn desc(&self) -> Vec<&Desc> {
        let parts: [&dyn Collector; 5] = [&self.held, &self.entries, &self.soonest_end, &self.queue, &self.oldest];
        parts.into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let census = self.vault.census();
        for (stage, count) in census.stages {
            self.entries.with_label_values(&[stage.as_str()]).set(float(count));
        }
        for (rank, count) in census.queued {
            self.queue.with_label_values(&[rank.as_str()]).set(float(count));
        }
        self.held.set(float(census.held));
        self.oldest.set(census.oldest_waiting.unwrap_or_default().as_secs_f64());
        let mut families = self.held.collect();
        families.extend([self.entries.collect(), self.queue.collect(), self.oldest.collect()].into_iter().flatten());
        // Nothing held expires at no time: then there is no such sample.
        if let Some(left) = census.soonest_end {
            self.soonest_end.set(left.as_secs_f64());
            families.extend(self.soonest_end.collect());
        }
        families
    }
}

fn outcome(error: Option<&StsError>) -> &'static str {
    error.map_or(SUCCESS, |error| error.kind.as_str())
}

fn outcomes(registry: &Registry, name: &str, help: &str) -> Result<IntCounterVec, Error> {
    let outcomes = registered(registry, counters(name, help, "outcome")?)?;
    for outcome in StsErrorKind::ALL.map(StsErrorKind::as_str).into_iter().chain([SUCCESS]) {
        outcomes.with_label_values(&[outcome]);
    }
    Ok(outcomes)
}
