//! The main path: an IP becomes a pod, the pod a role, the role credentials. Called by [`crate::grpc::kiam`] for each
//! request; everything it needs is plain values and the two outside edges behind the vault and the events.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use kiam_common::credentials::Issued;
use kiam_common::ops::Readiness;
use tokio::time::Instant;
use tracing::Span;

use crate::directory::Directory;
use crate::directory::pods::{Owner, Pod};
use crate::error::Error;
use crate::events::Recorder;
use crate::metrics::RequestMetrics;
use crate::node_binding::NodeBinding;
use crate::policy::node::Caller;
use crate::policy::{self, Decision};
use crate::role::resolver::Resolver;
use crate::vault::Vault;

/// Issues roles and credentials to pods.
pub struct Issuer {
    /// Says when the directory is complete.
    pub readiness: Readiness,
    /// Says whose pods an agent may ask for.
    pub node_binding: Arc<NodeBinding>,
    /// Who has which IP, and what namespaces permit.
    pub directory: Arc<Directory>,
    /// Reads the role that a request names.
    pub resolver: Resolver,
    /// Where credentials come from.
    pub vault: Arc<Vault>,
    /// Tells pods' owners of refusals.
    pub events: Recorder,
    /// Counts refusals.
    pub metrics: RequestMetrics,
}

/// A request about the pod with an IP.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The agent that asks.
    pub caller: &'a Caller,
    /// The IP in text form.
    pub ip: &'a str,
    /// How long to wait for a pod or namespace that is not known yet.
    pub patience: Duration,
}

/// What a pod gets.
#[derive(Clone, Debug)]
pub struct Given<T> {
    /// The pod that has the address.
    pub pod: Arc<Pod>,
    /// What it gets.
    pub what: T,
}

impl Issuer {
    /// The role that the pod is annotated with, in the annotation's own words; none if it has none.
    pub async fn role(&self, asked: Asked<'_>) -> Result<Given<Option<Arc<str>>>, Error> {
        let pod = self.pod(asked).await.inspect_err(|error| self.refused(asked, None, "", error))?;
        let permitted = self.permit(asked, &pod);
        let annotated = match permitted.and_then(|()| pod.role.annotated()) {
            Err(Error::NoRole) => None,
            annotated => Some(annotated.inspect_err(|error| self.refused(asked, Some(&pod), "", error))?),
        };
        let what = annotated.map(|annotated| Arc::clone(&annotated.text));
        Ok(Given { pod, what })
    }

    /// Credentials of `role` for the pod, if it is the pod's own and policy lets the pod have it.
    pub async fn credentials(&self, asked: Asked<'_>, role: &str) -> Result<Given<Arc<Issued>>, Error> {
        let deadline = Instant::now() + asked.patience;
        let pod = self.pod(asked).await.inspect_err(|error| self.refused(asked, None, role, error))?;
        let issued = self.credentials_of(asked, &pod, role, deadline).await;
        self.metrics.asked(&pod, issued.as_ref().err());
        let what = issued.inspect_err(|error| self.refused(asked, Some(&pod), role, error))?;
        Ok(Given { pod, what })
    }

    async fn pod(&self, asked: Asked<'_>) -> Result<Arc<Pod>, Error> {
        Error::unless_ready(&self.readiness)?;
        let ip: IpAddr = asked.ip.parse().map_err(|_| Error::BadIp(asked.ip.chars().take(64).collect()))?;
        match self.directory.wait_for_pod(ip, asked.patience).await {
            Owner::Pod(pod) => {
                let span = Span::current();
                span.record("k8s.namespace.name", &*pod.namespace);
                span.record("k8s.pod.name", &*pod.name);
                Ok(pod)
            }
            Owner::Unknown => Err(Error::PodNotFound(ip)),
            Owner::Ambiguous(pods) => Err(Error::PodAmbiguous { ip, pods }),
        }
    }

    /// An agent may ask for the pods of its own node.
    fn permit(&self, asked: Asked<'_>, pod: &Pod) -> Result<(), Error> {
        Ok(self.node_binding.permit(asked.caller, pod.node.as_deref())?)
    }

    async fn credentials_of(
        &self,
        asked: Asked<'_>,
        pod: &Pod,
        role: &str,
        deadline: Instant,
    ) -> Result<Arc<Issued>, Error> {
        self.permit(asked, pod)?;
        let annotated = pod.role.annotated()?;
        let requested = self.resolver.arn(role).map_err(Error::BadRole)?;
        let patience = deadline.duration_since(Instant::now());
        let permitted = self.directory.wait_for_rule(&pod.namespace, patience).await;
        let permitted = permitted.ok_or_else(|| Error::NamespaceUnknown(Arc::clone(&pod.namespace)))?;
        match policy::decide(&requested, annotated.arn(), &permitted) {
            Decision::Allowed => self.vault.get(&annotated.identity, deadline).await.map_err(Error::Sts),
            Decision::Denied(denial) => Err(Error::Forbidden(denial)),
        }
    }

    /// Counts a refusal, logs it, and tells the pod's owner.
    fn refused(&self, asked: Asked<'_>, pod: Option<&Arc<Pod>>, role: &str, error: &Error) {
        let reason = error.reason();
        self.metrics.refused(reason);
        let (name, namespace) = pod.map(|pod| (&*pod.name, &*pod.namespace)).unzip();
        let (node, agent_of) = (pod.and_then(|pod| pod.node.as_deref()), asked.caller);
        let reason = reason.as_str();
        tracing::info!(pod_ip = asked.ip, pod = name, namespace, node, %agent_of, role, reason, "refused: {error}");
        if let Some(pod) = pod {
            self.events.refused(pod, role, error);
        }
    }
}
