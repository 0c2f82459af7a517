//! The pods without an identity of their own. Nobody is given anything by them; who asks about one is told why.

use std::collections::HashMap;
use std::sync::Arc;

use super::pods::PodFields;
use super::uid::PodUid;

/// Why a pod has no identity of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Apart {
    /// It is Succeeded or Failed; another pod may have its address by now.
    Finished,
    /// It has the node's own address.
    HostNetwork,
}

impl Apart {
    /// Whether this pod is one of them.
    pub fn of(fields: &PodFields) -> Option<Self> {
        match fields {
            PodFields { finished: true, .. } => Some(Self::Finished),
            PodFields { host_network: true, .. } => Some(Self::HostNetwork),
            _ => None,
        }
    }
}

/// The pods, by uid.
#[derive(Debug, Default)]
pub(super) struct Bystanders(HashMap<PodUid, Bystander>);

#[derive(Debug)]
struct Bystander {
    namespace: Arc<str>,
    name: Box<str>,
    apart: Apart,
}

impl Bystanders {
    /// Takes one in.
    pub(super) fn insert(&mut self, uid: PodUid, namespace: Arc<str>, name: &str, apart: Apart) {
        self.0.insert(uid, Bystander { namespace, name: name.into(), apart });
    }

    /// Forgets one.
    pub(super) fn remove(&mut self, uid: &PodUid) {
        self.0.remove(uid);
    }

    /// Forgets whichever has a name. Looks at all of them.
    pub(super) fn remove_named(&mut self, namespace: &str, name: &str) {
        self.0.retain(|_, pod| !pod.is(namespace, name));
    }

    /// Why the pod with this name is among them, if it is. Looks at all of them.
    pub(super) fn named(&self, namespace: &str, name: &str) -> Option<Apart> {
        self.0.values().find(|pod| pod.is(namespace, name)).map(|pod| pod.apart)
    }
}

impl Bystander {
    fn is(&self, namespace: &str, name: &str) -> bool {
        *self.name == *name && *self.namespace == *namespace
    }
}
