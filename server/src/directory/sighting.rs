//! All that the directory knows of one pod, for those who ask why it gets credentials or not.

use std::net::IpAddr;
use std::sync::Arc;

use super::bystanders::Apart;
use super::pods::{Owner, Pod, PodIndex};
use super::{Directory, read};
use crate::policy::namespace::NamespaceRule;

/// Which pod is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The one with this name.
    Named {
        /// Its namespace.
        namespace: String,
        /// Its name there.
        name: String,
    },
    /// The one with this address.
    At(IpAddr),
}

/// What is known of it.
#[derive(Debug)]
pub enum Sighting {
    /// Nothing.
    Unknown,
    /// It has no identity of its own.
    Apart(Apart),
    /// Several pods have the address that was asked about.
    Shared(Shared),
    /// It is in the index.
    Known(Known),
}

/// An address that several live pods have.
#[derive(Debug)]
pub struct Shared {
    /// The address.
    pub ip: IpAddr,
    /// Some of the pods, by namespace and name.
    pub pods: Vec<String>,
}

/// A pod in the index, and what bears on it.
#[derive(Debug)]
pub struct Known {
    /// The pod.
    pub pod: Arc<Pod>,
    /// The first of its addresses that another pod has, too.
    pub shared: Option<Shared>,
    /// What its namespace permits, if the namespace is known.
    pub rule: Option<Arc<NamespaceRule>>,
}

impl Directory {
    /// Looks for a pod.
    pub fn sighting(&self, subject: &Subject) -> Sighting {
        let (pod, shared) = {
            let pods = read(&self.pods);
            let pod = match find(&pods, subject) {
                Ok(pod) => pod,
                Err(sighting) => return sighting,
            };
            let shared = pod.ips().iter().find_map(|ip| shared(&pods, *ip));
            (pod, shared)
        };
        let rule = read(&self.namespaces).rule(&pod.namespace);
        Sighting::Known(Known { pod, shared, rule })
    }
}

fn find(pods: &PodIndex, subject: &Subject) -> Result<Arc<Pod>, Sighting> {
    match subject {
        Subject::Named { namespace, name } => match pods.named(namespace, name) {
            Some(pod) => Ok(Arc::clone(pod)),
            None => Err(pods.apart(namespace, name).map_or(Sighting::Unknown, Sighting::Apart)),
        },
        Subject::At(ip) => match pods.owner_of(*ip) {
            Owner::Pod(pod) => Ok(pod),
            Owner::Unknown => Err(Sighting::Unknown),
            Owner::Ambiguous(pods) => Err(Sighting::Shared(Shared { ip: *ip, pods })),
        },
    }
}

fn shared(pods: &PodIndex, ip: IpAddr) -> Option<Shared> {
    match pods.owner_of(ip) {
        Owner::Ambiguous(pods) => Some(Shared { ip, pods }),
        Owner::Pod(_) | Owner::Unknown => None,
    }
}
