//! Agents that nothing binds to a node: counted, and named in the log once for each kind of program.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use super::Evidence;
use crate::metrics::BindingMetrics;

/// Kinds of programs that are named; whoever connects can call itself anything.
const NAMED: usize = 16;
/// The longest name that is told, in characters.
const LONGEST_NAME: usize = 64;

/// What is known of unbound agents.
#[derive(Debug)]
pub struct Unbound {
    metrics: BindingMetrics,
    named: Mutex<HashSet<String>>,
}

impl Unbound {
    /// None yet.
    pub fn new(metrics: BindingMetrics) -> Self {
        Self { metrics, named: Mutex::default() }
    }

    /// Takes note of a call.
    pub(super) fn note(&self, evidence: Evidence<'_>) {
        self.metrics.unbound.inc();
        let program: String = evidence.program.chars().take(LONGEST_NAME).collect();
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        if named.len() < NAMED && !named.contains(&program) {
            let address = evidence.address.map(tracing::field::display);
            tracing::warn!(program, address, "agents may ask for every node's pods: --node-binding is off");
            named.insert(program);
        }
    }
}
