//! The index of pods: by uid, by name, by IP and by role identity. Plain and synchronous; the watch feeds it through
//! [`super::Directory`].
//!
//! Only pods that can have an identity of their own are in it. A finished pod (Succeeded or Failed) keeps its IP in
//! the API although another pod may have it by now, and a pod on the host's network has the node's IP, which says
//! nothing about which of the node's processes is asking: neither is indexed.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use kiam_common::role::RoleIdentity;

use super::hosts::HostIndex;
use super::intern::Interner;
use crate::role::resolver::Resolver;
use crate::role::{AnnotatedRole, PodRole, RoleAnnotations};

/// A pod as the Kubernetes API shows it, reduced to what matters here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodFields {
    /// `metadata.uid`
    pub uid: String,
    /// `metadata.namespace`
    pub namespace: String,
    /// `metadata.name`
    pub name: String,
    /// `spec.nodeName`; absent until the pod is scheduled.
    pub node: Option<String>,
    /// `spec.hostNetwork`
    pub host_network: bool,
    /// `status.phase` is Succeeded or Failed.
    pub finished: bool,
    /// `status.podIPs` and `status.podIP`
    pub ips: Vec<IpAddr>,
    /// `status.hostIPs` and `status.hostIP`: the node's addresses.
    pub host_ips: Vec<IpAddr>,
    /// The annotations under `iam.amazonaws.com/`.
    pub annotations: RoleAnnotations,
}

/// A pod in the index.
#[derive(Debug, PartialEq, Eq)]
pub struct Pod {
    /// Never reused, unlike the name and the IPs.
    pub uid: Arc<str>,
    /// The namespace whose rule decides.
    pub namespace: Arc<str>,
    /// Unique in the namespace at any time.
    pub name: Arc<str>,
    /// Where the pod runs; absent until it is scheduled.
    pub node: Option<Arc<str>>,
    /// What its annotations come to.
    pub role: PodRole,
    ips: Box<[IpAddr]>,
}

/// A role identity that a pod of a namespace asks for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Demand {
    /// What to get credentials of.
    pub identity: Arc<RoleIdentity>,
    /// Whose rule decides.
    pub namespace: Arc<str>,
    /// It is asked for because the pod's annotation or the namespace has changed: what AWS said before is worth asking
    /// again.
    pub changed: bool,
}

/// The pods that have an IP.
#[derive(Debug, PartialEq, Eq)]
pub enum Owner {
    /// Exactly one.
    Pod(Arc<Pod>),
    /// None that the server knows.
    Unknown,
    /// Two or more, by namespace and name.
    Ambiguous(Vec<String>),
}

/// Every pod that can have an identity of its own.
#[derive(Debug, Default)]
pub struct PodIndex {
    by_uid: HashMap<Arc<str>, Arc<Pod>>,
    by_name: HashMap<Arc<str>, HashMap<Arc<str>, Arc<Pod>>>,
    by_ip: HashMap<IpAddr, Vec<Arc<Pod>>>,
    /// How many pods of each namespace ask for each role identity.
    by_identity: HashMap<Arc<RoleIdentity>, HashMap<Arc<str>, usize>>,
    hosts: HostIndex,
    texts: Interner,
}

impl PodIndex {
    /// Takes in what the API says of a pod now. Returns what the pod asks for if it did not ask for it before.
    pub fn apply(&mut self, fields: &PodFields, resolver: &Resolver) -> Option<Demand> {
        // A name belongs to one pod at a time: whatever had it is gone, even if its deletion was never seen.
        let before = self.remove_named(&fields.namespace, &fields.name);
        self.remove_uid(&fields.uid);
        self.note_host(fields);
        if fields.finished || fields.host_network {
            return None;
        }
        let pod = Arc::new(self.pod(fields, resolver));
        self.insert(&pod);
        let before = before.filter(|before| before.uid == pod.uid);
        let asked_before = before.as_ref().and_then(|before| demand(before));
        let asks = demand(&pod).filter(|demand| Some(demand) != asked_before.as_ref())?;
        Some(Demand { changed: before.is_some(), ..asks })
    }

    /// Forgets a pod. A deletion that arrives after the name was taken over by another pod changes nothing.
    pub fn delete(&mut self, uid: &str) {
        self.remove_uid(uid);
    }

    /// Forgets whichever pod has a name.
    pub fn delete_named(&mut self, namespace: &str, name: &str) {
        self.remove_named(namespace, name);
    }

    /// Which pod has an IP.
    pub fn owner_of(&self, ip: IpAddr) -> Owner {
        match self.by_ip.get(&ip.to_canonical()).map(Vec::as_slice) {
            None | Some([]) => Owner::Unknown,
            Some([pod]) => Owner::Pod(Arc::clone(pod)),
            Some(pods) => Owner::Ambiguous(pods.iter().map(|pod| format!("{}/{}", pod.namespace, pod.name)).collect()),
        }
    }

    /// Whether a node has an address, as far as the pods on it tell.
    pub fn node_has(&self, node: &str, address: IpAddr) -> bool {
        self.hosts.has(node, address)
    }

    /// The namespaces with a pod that asks for a role identity.
    pub fn namespaces_asking_for(&self, identity: &RoleIdentity) -> impl Iterator<Item = &Arc<str>> {
        self.by_identity.get(identity).into_iter().flat_map(HashMap::keys)
    }

    /// Everything that pods ask for; only of one namespace if it is given.
    pub fn demands(&self, of_namespace: Option<&str>) -> Vec<Demand> {
        let all = self
            .by_identity
            .iter()
            .flat_map(|(identity, namespaces)| namespaces.keys().map(|namespace| asked_for(identity, namespace)));
        all.filter(|demand| of_namespace.is_none_or(|namespace| *demand.namespace == *namespace)).collect()
    }

    /// How many pods there are.
    pub fn len(&self) -> usize {
        self.by_uid.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_uid.is_empty()
    }

    /// Pods on the host's network tell of their node, too.
    fn note_host(&mut self, fields: &PodFields) {
        let Some(node) = fields.node.as_deref().filter(|_| !fields.finished) else { return };
        let node = self.texts.share(node);
        // `hosts` and `texts` hold one each.
        self.hosts.note(&node, &canonical(&fields.host_ips), |node| Arc::strong_count(node) > 2);
    }

    fn pod(&mut self, fields: &PodFields, resolver: &Resolver) -> Pod {
        Pod {
            uid: fields.uid.as_str().into(),
            namespace: self.texts.share(&fields.namespace),
            name: fields.name.as_str().into(),
            node: fields.node.as_deref().map(|node| self.texts.share(node)),
            role: self.shared(resolver.pod_role(&fields.annotations)),
            ips: canonical(&fields.ips).into(),
        }
    }

    /// The same role, made of what other pods have already.
    fn shared(&mut self, role: PodRole) -> PodRole {
        let PodRole::Annotated(AnnotatedRole { text, identity }) = role else { return role };
        let known = self.by_identity.get_key_value(&identity).map(|(known, _)| Arc::clone(known));
        PodRole::Annotated(AnnotatedRole { text: self.texts.share(&text), identity: known.unwrap_or(identity) })
    }

    fn insert(&mut self, pod: &Arc<Pod>) {
        self.by_uid.insert(Arc::clone(&pod.uid), Arc::clone(pod));
        self.by_name.entry(Arc::clone(&pod.namespace)).or_default().insert(Arc::clone(&pod.name), Arc::clone(pod));
        for ip in &pod.ips {
            self.by_ip.entry(*ip).or_insert_with(|| Vec::with_capacity(1)).push(Arc::clone(pod));
        }
        if let Some(Demand { identity, namespace, .. }) = demand(pod) {
            *self.by_identity.entry(identity).or_default().entry(namespace).or_default() += 1;
        }
    }

    fn remove_named(&mut self, namespace: &str, name: &str) -> Option<Arc<Pod>> {
        let pod = Arc::clone(self.by_name.get(namespace)?.get(name)?);
        self.remove_uid(&pod.uid);
        Some(pod)
    }

    fn remove_uid(&mut self, uid: &str) {
        let Some(pod) = self.by_uid.remove(uid) else { return };
        if let Some(names) = self.by_name.get_mut(&pod.namespace) {
            names.remove(&pod.name);
            if names.is_empty() {
                self.by_name.remove(&pod.namespace);
            }
        }
        for ip in &pod.ips {
            if let Some(owners) = self.by_ip.get_mut(ip) {
                owners.retain(|owner| owner.uid != pod.uid);
                if owners.is_empty() {
                    self.by_ip.remove(ip);
                }
            }
        }
        if let Some(demand) = demand(&pod) {
            self.withdraw(&demand);
        }
    }

    fn withdraw(&mut self, demand: &Demand) {
        let Some(namespaces) = self.by_identity.get_mut(&demand.identity) else { return };
        if let Some(pods) = namespaces.get_mut(&demand.namespace) {
            *pods -= 1;
            if *pods == 0 {
                namespaces.remove(&demand.namespace);
            }
        }
        if namespaces.is_empty() {
            self.by_identity.remove(&demand.identity);
        }
    }
}

fn canonical(ips: &[IpAddr]) -> Vec<IpAddr> {
    let mut ips: Vec<IpAddr> = ips.iter().map(IpAddr::to_canonical).collect();
    ips.sort_unstable();
    ips.dedup();
    ips
}

fn demand(pod: &Pod) -> Option<Demand> {
    let PodRole::Annotated(role) = &pod.role else { return None };
    Some(asked_for(&role.identity, &pod.namespace))
}

fn asked_for(identity: &Arc<RoleIdentity>, namespace: &Arc<str>) -> Demand {
    Demand { identity: Arc::clone(identity), namespace: Arc::clone(namespace), changed: false }
}
