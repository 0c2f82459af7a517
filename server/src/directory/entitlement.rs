//! What the pod at an address may have: worked out anew whenever the desk looks, never kept in the directory.

use std::net::IpAddr;
use std::sync::Arc;

use super::pods::{Owner, Pod};
use super::{Directory, read};
use crate::error::Error;
use crate::policy::{self, Decision};
use crate::role::AnnotatedRole;

/// A pod at an address, and what it may have there.
#[derive(Clone, Debug)]
pub struct Entitlement {
    /// The pod.
    pub pod: Arc<Pod>,
    /// Why the pod must not have the role that it is annotated with, if it must not.
    refusal: Option<Arc<Error>>,
}

impl Entitlement {
    /// The pod's own role, or why it gets nothing.
    pub fn outcome(&self) -> Result<&AnnotatedRole, Error> {
        match &self.refusal {
            None => self.pod.role.annotated(),
            Some(refusal) => Err(Error::clone(refusal)),
        }
    }

    /// Whether who was told of the other knows this one, too.
    pub fn says_the_same_as(&self, other: &Self) -> bool {
        self.pod.uid == other.pod.uid && self.pod.role == other.pod.role && self.refusal == other.refusal
    }
}

impl Directory {
    /// What the pod of a node at an IP may have: nothing if pods of whatever node share the IP. None if the node has
    /// no such pod, and until the pod's namespace is known, which is worth waiting for.
    pub fn entitlement(&self, node: &str, ip: IpAddr) -> Option<Entitlement> {
        let (pod, owner) = {
            let pods = read(&self.pods);
            (Arc::clone(pods.on_node(node, ip)?), pods.owner_of(ip))
        };
        let outcome = match owner {
            Owner::Ambiguous(pods) => Err(Error::PodAmbiguous { ip, pods }),
            Owner::Pod(_) | Owner::Unknown => self.by_policy(&pod)?,
        };
        Some(Entitlement { pod, refusal: outcome.err().map(Arc::new) })
    }

    /// Whether policy lets the pod have its own role, if it has one. None if its namespace is not known.
    fn by_policy(&self, pod: &Pod) -> Option<Result<(), Error>> {
        let Ok(annotated) = pod.role.annotated() else { return Some(Ok(())) };
        let rule = read(&self.namespaces).rule(&pod.namespace)?;
        Some(match policy::decide(annotated.arn(), annotated.arn(), &rule) {
            Decision::Allowed => Ok(()),
            Decision::Denied(denial) => Err(Error::Forbidden(denial)),
        })
    }
}
