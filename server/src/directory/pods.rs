//! The index of pods: by uid, name, IP, node and role identity. Plain and synchronous; the watch feeds it through
//! [`super::Directory`].
//!
//! Only pods that can have an identity of their own are in it. A finished pod (Succeeded or Failed) keeps its IP in
//! the API although another pod may have it by now, and a pod on the host's network has the node's IP, which says
//! nothing about which of the node's processes is asking: neither is indexed; of both it is only known that they are
//! there ([`super::bystanders`]).

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use kiam_common::role::RoleIdentity;

use super::by::{By, Name, Uid};
use super::bystanders::{Apart, Bystanders};
use super::change::{Address, Change, Demand, Touched};
use super::few::Few;
use super::hosts::HostIndex;
use super::intern::Interner;
use super::uid::PodUid;
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
    pub uid: PodUid,
    /// The namespace whose rule decides.
    pub namespace: Arc<str>,
    /// Unique in the namespace at any time.
    pub name: Box<str>,
    /// Where the pod runs; absent until it is scheduled.
    pub node: Option<Arc<str>>,
    /// What its annotations come to.
    pub role: PodRole,
    ips: Few<IpAddr>,
}

impl Pod {
    /// Its addresses, in canonical form.
    pub fn ips(&self) -> &[IpAddr] {
        self.ips.as_slice()
    }
}

/// How many pods with the same IP are named.
const NAMED: usize = 4;

/// The pods that have an IP.
#[derive(Debug, PartialEq, Eq)]
pub enum Owner {
    /// Exactly one.
    Pod(Arc<Pod>),
    /// None that the server knows.
    Unknown,
    /// Two or more; the first of them by namespace and name.
    Ambiguous(Vec<String>),
}

/// Every pod that can have an identity of its own.
#[derive(Debug, Default)]
pub struct PodIndex {
    by_uid: HashSet<By<Uid>>,
    by_name: HashMap<Arc<str>, HashSet<By<Name>>>,
    by_ip: HashMap<Ipv6Addr, Few<Arc<Pod>>>,
    by_node: HashMap<Arc<str>, Vec<Arc<Pod>>>,
    /// How many pods of each namespace ask for each role identity.
    by_identity: HashMap<Arc<RoleIdentity>, HashMap<Arc<str>, usize>>,
    bystanders: Bystanders,
    hosts: HostIndex,
    texts: Interner,
}

impl PodIndex {
    /// Takes in what the API says of a pod now. It asks only for what it did not ask for before.
    pub fn apply(&mut self, fields: &PodFields, resolver: &Resolver) -> Change {
        self.note_host(fields);
        let (uid, apart) = (PodUid::from(fields.uid.as_str()), Apart::of(fields));
        let pod = apart.is_none().then(|| Arc::new(self.pod(fields, resolver)));
        if pod.is_some() && pod.as_ref() == self.with_uid(&uid) {
            return Change::default();
        }
        // A name belongs to one pod at a time: whatever had it is gone, even if its deletion was never seen.
        let (before, mut touched) = self.remove_named(&fields.namespace, &fields.name);
        touched.extend(self.delete(&uid));
        if let Some(apart) = apart {
            let namespace = self.texts.share(&fields.namespace);
            self.bystanders.insert(uid, namespace, &fields.name, apart);
        }
        let Some(pod) = pod else { return touched.into() };
        self.insert(&pod);
        touched.extend(self.addresses_beside(&pod));
        let before = before.filter(|before| before.uid == pod.uid);
        let asked_before = before.as_ref().and_then(|before| demand(before));
        let asks = demand(&pod).filter(|demand| Some(demand) != asked_before.as_ref());
        let demands = asks.map(|demand| Demand { changed: before.is_some(), ..demand }).into_iter().collect();
        Change { demands, touched: Touched::Addresses(touched) }
    }

    /// Forgets a pod. A deletion that arrives after the name was taken over by another pod changes nothing. Returns
    /// the addresses whose pods are others than before.
    pub fn delete(&mut self, uid: &PodUid) -> Vec<Address> {
        self.bystanders.remove(uid);
        let Some(pod) = self.with_uid(uid).map(Arc::clone) else { return Vec::new() };
        let touched = self.addresses_beside(&pod);
        self.remove(&pod);
        touched
    }

    /// Forgets whichever pod has a name. Returns the addresses whose pods are others than before.
    pub fn delete_named(&mut self, namespace: &str, name: &str) -> Vec<Address> {
        self.bystanders.remove_named(namespace, name);
        self.remove_named(namespace, name).1
    }

    /// The pod with a name.
    pub fn named(&self, namespace: &str, name: &str) -> Option<&Arc<Pod>> {
        self.by_name.get(namespace)?.get(name).map(|found| &found.pod)
    }

    /// Why the pod with a name has no identity of its own, if it is known for that.
    pub fn apart(&self, namespace: &str, name: &str) -> Option<Apart> {
        self.bystanders.named(namespace, name)
    }

    /// Which pod has an IP.
    pub fn owner_of(&self, ip: IpAddr) -> Owner {
        match self.at(ip) {
            [] => Owner::Unknown,
            [pod] => Owner::Pod(Arc::clone(pod)),
            pods => {
                let name = |pod: &Arc<Pod>| format!("{}/{}", pod.namespace, pod.name);
                Owner::Ambiguous(pods.iter().take(NAMED).map(name).collect())
            }
        }
    }

    /// Whether a node has an address, as far as the pods on it tell.
    pub fn node_has(&self, node: &str, address: IpAddr) -> bool {
        self.hosts.has(node, address)
    }

    /// The pod of a node that has an IP; the first of them if it has several.
    pub fn on_node(&self, node: &str, ip: IpAddr) -> Option<&Arc<Pod>> {
        self.at(ip).iter().find(|pod| pod.node.as_deref() == Some(node))
    }

    /// The IPs of the pods of a node; one that several of them have is named several times.
    pub fn ips_of_node(&self, node: &str) -> impl Iterator<Item = IpAddr> {
        self.by_node.get(node).into_iter().flatten().flat_map(|pod| pod.ips.as_slice().iter().copied())
    }

    /// The addresses of a namespace's pods.
    pub fn addresses_of_namespace(&self, namespace: &str) -> Vec<Address> {
        self.by_name.get(namespace).into_iter().flatten().flat_map(|found| addresses(&found.pod)).collect()
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
        self.by_uid.insert(pod.into());
        self.by_name.entry(Arc::clone(&pod.namespace)).or_default().insert(pod.into());
        for ip in pod.ips.as_slice() {
            self.by_ip.entry(key(*ip)).or_default().push(Arc::clone(pod));
        }
        if let Some(node) = &pod.node {
            self.by_node.entry(Arc::clone(node)).or_default().push(Arc::clone(pod));
        }
        if let Some(Demand { identity, namespace, .. }) = demand(pod) {
            *self.by_identity.entry(identity).or_default().entry(namespace).or_default() += 1;
        }
    }

    fn with_uid(&self, uid: &PodUid) -> Option<&Arc<Pod>> {
        self.by_uid.get(uid).map(|found| &found.pod)
    }

    fn at(&self, ip: IpAddr) -> &[Arc<Pod>] {
        self.by_ip.get(&key(ip)).map(Few::as_slice).unwrap_or_default()
    }

    /// Where the pod's IPs are: its own node, and those of other pods with the same IPs.
    fn addresses_beside(&self, pod: &Pod) -> Vec<Address> {
        let at = |ip: &IpAddr| self.at(*ip).iter().filter_map(|other| address(other, *ip)).collect::<Vec<_>>();
        pod.ips.as_slice().iter().flat_map(at).collect()
    }

    fn remove_named(&mut self, namespace: &str, name: &str) -> (Option<Arc<Pod>>, Vec<Address>) {
        let pod = self.named(namespace, name).map(Arc::clone);
        let touched = pod.as_ref().map(|pod| self.delete(&pod.uid)).unwrap_or_default();
        (pod, touched)
    }

    fn remove(&mut self, pod: &Pod) {
        self.by_uid.remove(&pod.uid);
        if let Some(names) = self.by_name.get_mut(&pod.namespace) {
            names.remove(&*pod.name);
            if names.is_empty() {
                self.by_name.remove(&pod.namespace);
            }
        }
        for ip in pod.ips.as_slice() {
            self.remove_at(key(*ip), pod);
        }
        if let Some(node) = &pod.node {
            self.remove_from(node, pod);
        }
        if let Some(demand) = demand(pod) {
            self.withdraw(&demand);
        }
    }

    fn remove_at(&mut self, key: Ipv6Addr, pod: &Pod) {
        let Some(pods) = self.by_ip.get_mut(&key) else { return };
        pods.retain(|other| other.uid != pod.uid);
        if pods.as_slice().is_empty() {
            self.by_ip.remove(&key);
        }
    }

    fn remove_from(&mut self, node: &str, pod: &Pod) {
        let Some(pods) = self.by_node.get_mut(node) else { return };
        pods.retain(|other| other.uid != pod.uid);
        if pods.is_empty() {
            self.by_node.remove(node);
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

/// An IP in the form that takes the least memory.
fn key(ip: IpAddr) -> Ipv6Addr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}

fn addresses(pod: &Pod) -> impl Iterator<Item = Address> {
    pod.ips.as_slice().iter().filter_map(|ip| address(pod, *ip))
}

fn address(pod: &Pod, ip: IpAddr) -> Option<Address> {
    pod.node.clone().map(|node| Address { node, ip })
}

fn demand(pod: &Pod) -> Option<Demand> {
    let PodRole::Annotated(role) = &pod.role else { return None };
    Some(asked_for(&role.identity, &pod.namespace))
}

fn asked_for(identity: &Arc<RoleIdentity>, namespace: &Arc<str>) -> Demand {
    Demand { identity: Arc::clone(identity), namespace: Arc::clone(namespace), changed: false }
}
