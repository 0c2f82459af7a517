//! Series whose number grows with the cluster: counters by the name of a role or of a namespace.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

/// How many names have series of their own. The rest share one, so that whoever makes up names fills no memory, here
/// or in Prometheus.
pub(super) const NAMES_MAX: usize = 5000;
/// The label of the rest; no role's ARN and no namespace that can exist.
const OTHER: &str = "(other)";

/// The names that have series of their own.
#[derive(Clone, Debug, Default)]
pub(super) struct Names(Arc<Mutex<HashSet<String>>>);

impl Names {
    /// The label for a name.
    pub(super) fn label<'n>(&self, name: &'n str) -> &'n str {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.contains(name) {
            return name;
        }
        if known.len() >= NAMES_MAX {
            return OTHER;
        }
        known.insert(name.to_owned());
        name
    }
}
