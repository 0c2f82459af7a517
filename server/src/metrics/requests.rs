//! What the server counts about agents' calls for pods.

use kiam_common::reason::Reason;
use kiam_common::registry::Registry;
use prometheus::{Error, IntCounterVec, Opts};

use super::names::Names;
use super::{Costly, counters, registered};
use crate::directory::pods::Pod;
use crate::error;

/// Counts calls, as a whole and, where `--metrics-enable` says so, by role and by namespace.
#[derive(Clone, Debug)]
pub struct RequestMetrics {
    refused: IntCounterVec,
    roles: Option<RoleMetrics>,
    namespaces: Option<NamespaceMetrics>,
}

impl RequestMetrics {
    /// Registers the series.
    pub fn new(registry: &Registry, costly: &[Costly]) -> Result<Self, Error> {
        let refused = registered(registry, counters("kiam_requests_refused_total", "Requests refused", "reason")?)?;
        for reason in Reason::ALL {
            refused.with_label_values(&[reason.as_str()]);
        }
        let has = |series| costly.contains(&series);
        Ok(Self {
            refused,
            roles: has(Costly::Roles).then(|| RoleMetrics::new(registry)).transpose()?,
            namespaces: has(Costly::Namespaces).then(|| NamespaceMetrics::new(registry)).transpose()?,
        })
    }

    /// Counts one refusal.
    pub fn refused(&self, reason: Reason) {
        self.refused.with_label_values(&[reason.as_str()]).inc();
    }

    /// Counts a call for credentials of a pod that is known, by what became of it.
    pub(crate) fn asked(&self, pod: &Pod, error: Option<&error::Error>) {
        if let Some(roles) = &self.roles {
            roles.count(pod, error);
        }
        if let Some(namespaces) = &self.namespaces {
            namespaces.count(pod, error);
        }
    }
}

/// By the role that the pod is annotated with: what it asks for may be anything.
#[derive(Clone, Debug)]
struct RoleMetrics {
    requests: IntCounterVec,
    errors: IntCounterVec,
    names: Names,
}

impl RoleMetrics {
    fn new(registry: &Registry) -> Result<Self, Error> {
        let requests = counters("kiam_role_requests_total", "Calls for credentials, by the pod's role", "role")?;
        let refused = counters("kiam_role_errors_total", "Of those, calls that got none", "role")?;
        let (requests, refused) = (registered(registry, requests)?, registered(registry, refused)?);
        Ok(Self { requests, errors: refused, names: Names::default() })
    }

    fn count(&self, pod: &Pod, error: Option<&error::Error>) {
        let Ok(role) = pod.role.annotated() else { return };
        let name = self.names.label(role.arn().as_str());
        self.requests.with_label_values(&[name]).inc();
        let errors = self.errors.with_label_values(&[name]);
        errors.inc_by(error.is_some().into());
    }
}

#[derive(Clone, Debug)]
struct NamespaceMetrics {
    requests: IntCounterVec,
    names: Names,
}

impl NamespaceMetrics {
    fn new(registry: &Registry) -> Result<Self, Error> {
        let help = "Calls for credentials, by the pod's namespace and whether it may have them";
        let requests =
            IntCounterVec::new(Opts::new("kiam_namespace_requests_total", help), &["namespace", "decision"])?;
        Ok(Self { requests: registered(registry, requests)?, names: Names::default() })
    }

    fn count(&self, pod: &Pod, error: Option<&error::Error>) {
        let name = self.names.label(&pod.namespace);
        // What STS refuses was allowed here.
        let is_allowed = matches!(error, None | Some(error::Error::Sts(_)));
        for (decision, counts) in [("allowed", is_allowed), ("refused", !is_allowed)] {
            self.requests.with_label_values(&[name, decision]).inc_by(counts.into());
        }
    }
}
