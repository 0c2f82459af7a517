//! The truth: which pods there are, where they run, and what the Kubernetes API says of them, with the events of that
//! in the order in which every server hears them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use kiam_common::reason::Reason;
use kiam_server::directory::namespaces::NamespaceFields;
use kiam_server::directory::pods::PodFields;
use kiam_server::policy::namespace::NamespaceAnnotations;
use kiam_server::role::RoleAnnotations;

use crate::history::{ADDRESSES, Annotation, NAMES, ROLES, Rule};

/// Before the name of each role.
pub(crate) const ARN: &str = "arn:aws:iam::123456789012:role/";

/// A pod that has been started.
#[derive(Clone, Debug)]
pub(crate) struct Pod {
    pub(crate) uid: String,
    pub(crate) name: usize,
    pub(crate) namespace: usize,
    pub(crate) node: usize,
    pub(crate) ip: IpAddr,
    pub(crate) annotation: Annotation,
    /// The API knows its address.
    pub(crate) is_reported: bool,
    pub(crate) is_finished: bool,
}

/// A pod's end of its link to the node. There is never a second one like it.
#[derive(Clone, Debug)]
pub(crate) struct Sandbox {
    pub(crate) uid: String,
    pub(crate) name: usize,
    pub(crate) node: usize,
    pub(crate) ip: IpAddr,
    pub(crate) number: u8,
}

/// What happened to a pod in the API.
#[derive(Clone, Debug)]
pub(crate) enum PodEvent {
    Applied(Pod),
    Deleted(Pod),
}

/// What happened to a namespace in the API: none if it vanished.
pub(crate) type NamespaceEvent = (usize, Option<Rule>);

/// What the API says, or a server has heard.
#[derive(Clone, Debug, Default)]
pub(crate) struct Objects {
    pub(crate) pods: BTreeMap<usize, Pod>,
    pub(crate) namespaces: BTreeMap<usize, Rule>,
}

/// Whose an address is on a node, and what that pod may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Word {
    /// None where several pods share the address.
    pub(crate) uid: Option<String>,
    /// A role, or why there is none.
    pub(crate) outcome: Result<usize, Reason>,
}

impl Objects {
    pub(crate) fn take_pod(&mut self, event: &PodEvent) {
        match event {
            PodEvent::Applied(pod) => {
                self.pods.insert(pod.name, pod.clone());
            }
            PodEvent::Deleted(pod) => {
                self.pods.remove(&pod.name);
            }
        }
    }

    pub(crate) fn take_namespace(&mut self, (namespace, rule): NamespaceEvent) {
        self.namespaces.remove(&namespace);
        self.namespaces.extend(rule.map(|rule| (namespace, rule)));
    }

    /// The pods that have an address.
    pub(crate) fn live(&self, ip: IpAddr) -> impl Iterator<Item = &Pod> {
        self.pods.values().filter(move |pod| pod.is_reported && !pod.is_finished && pod.ip == ip)
    }

    /// What follows from this for an address on a node. None if no pod there has it, or nobody can decide yet.
    pub(crate) fn word(&self, node: usize, ip: IpAddr) -> Option<Word> {
        let (here, elsewhere): (Vec<_>, Vec<_>) = self.live(ip).partition(|pod| pod.node == node);
        let pod = *here.first()?;
        if here.len() + elsewhere.len() > 1 {
            return Some(Word { uid: None, outcome: Err(Reason::PodAmbiguous) });
        }
        let outcome = match pod.annotation {
            Annotation::Absent => Err(Reason::NoRole),
            Annotation::Invalid => Err(Reason::InvalidAnnotation),
            Annotation::Role(role) => self.namespaces.get(&pod.namespace)?.decide(role),
        };
        Some(Word { uid: Some(pod.uid.clone()), outcome })
    }
}

impl Rule {
    fn decide(self, role: usize) -> Result<usize, Reason> {
        match self {
            Self::Everything => Ok(role),
            Self::Only(permitted) if permitted == role => Ok(role),
            Self::Only(_) | Self::Nothing => Err(Reason::Forbidden),
        }
    }
}

/// The cluster.
#[derive(Debug, Default)]
pub(crate) struct Cluster {
    /// What the API says now.
    pub(crate) objects: Objects,
    /// The pods whose networks exist.
    pub(crate) sandboxes: Vec<Sandbox>,
    pub(crate) pod_events: Vec<PodEvent>,
    pub(crate) namespace_events: Vec<NamespaceEvent>,
    started: u8,
}

impl Cluster {
    pub(crate) fn start(&mut self, name: usize, namespace: usize, node: usize, ip: usize, annotation: Annotation) {
        if self.objects.pods.contains_key(&name) {
            return;
        }
        self.started += 1;
        let (uid, ip) = (format!("uid-{}", self.started), ADDRESSES[ip].parse().expect("an address"));
        // An address leads to one place: the pod that had it is gone from there, whatever the API still says.
        self.sandboxes.retain(|sandbox| sandbox.node != node || sandbox.ip != ip);
        self.sandboxes.push(Sandbox { uid: uid.clone(), name, node, ip, number: self.started });
        self.apply(Pod { uid, name, namespace, node, ip, annotation, is_reported: false, is_finished: false });
    }

    pub(crate) fn report(&mut self, name: usize) {
        let Some(pod) = self.objects.pods.get(&name) else { return };
        if self.is_running(pod) {
            self.apply(Pod { is_reported: true, ..pod.clone() });
        }
    }

    pub(crate) fn stop(&mut self, name: usize) {
        if let Some(first) = self.sandboxes.iter().position(|sandbox| sandbox.name == name) {
            self.sandboxes.remove(first);
        }
    }

    pub(crate) fn finish(&mut self, name: usize) {
        let Some(pod) = self.objects.pods.get(&name).cloned() else { return };
        self.sandboxes.retain(|sandbox| sandbox.uid != pod.uid);
        self.apply(Pod { is_finished: true, ..pod });
    }

    pub(crate) fn delete(&mut self, name: usize) {
        if let Some(pod) = self.objects.pods.remove(&name) {
            self.pod_events.push(PodEvent::Deleted(pod));
        }
    }

    pub(crate) fn annotate(&mut self, name: usize, annotation: Annotation) {
        if let Some(pod) = self.objects.pods.get(&name) {
            self.apply(Pod { annotation, ..pod.clone() });
        }
    }

    pub(crate) fn set_namespace(&mut self, namespace: usize, rule: Option<Rule>) {
        self.objects.take_namespace((namespace, rule));
        self.namespace_events.push((namespace, rule));
    }

    /// The kubelets tell the API all that is true. A pod that was deleted by force runs on.
    pub(crate) fn catch_up(&mut self) {
        for name in 0..NAMES {
            self.report(name);
            let is_gone = self.objects.pods.get(&name).is_some_and(|pod| !pod.is_finished && !self.is_running(pod));
            if is_gone {
                self.delete(name);
            }
        }
    }

    /// Who is at an address of a node, and asks from there.
    pub(crate) fn at(&self, node: usize, ip: IpAddr) -> Option<&Sandbox> {
        self.sandboxes.iter().find(|sandbox| sandbox.node == node && sandbox.ip == ip)
    }

    fn is_running(&self, pod: &Pod) -> bool {
        self.sandboxes.iter().any(|sandbox| sandbox.uid == pod.uid)
    }

    fn apply(&mut self, pod: Pod) {
        self.objects.pods.insert(pod.name, pod.clone());
        self.pod_events.push(PodEvent::Applied(pod));
    }
}

impl Pod {
    /// As a server reads it.
    pub(crate) fn fields(&self) -> PodFields {
        let role = match self.annotation {
            Annotation::Absent => None,
            Annotation::Invalid => Some("arn:of:nothing".to_owned()),
            Annotation::Role(role) => Some(ROLES[role].to_owned()),
        };
        PodFields {
            uid: self.uid.clone(),
            namespace: namespace_name(self.namespace),
            name: format!("pod-{}", self.name),
            node: Some(node_name(self.node)),
            finished: self.is_finished,
            ips: if self.is_reported { vec![self.ip] } else { Vec::new() },
            annotations: RoleAnnotations { role, ..RoleAnnotations::default() },
            ..PodFields::default()
        }
    }
}

pub(crate) fn node_name(node: usize) -> String {
    format!("node-{node}")
}

fn namespace_name(namespace: usize) -> String {
    format!("namespace-{namespace}")
}

/// A namespace as a server reads it.
pub(crate) fn namespace_fields(namespace: usize, rule: Option<Rule>) -> NamespaceFields {
    let text = match rule {
        None | Some(Rule::Nothing) => None,
        // Not `.*`, which is a large automaton: it would take most of the test's time to compile.
        Some(Rule::Everything) => Some(format!("{ARN}(?:{})", ROLES.join("|"))),
        Some(Rule::Only(permitted)) => Some(format!("{ARN}{}", ROLES[permitted])),
    };
    let annotations = NamespaceAnnotations { permitted: text, allowed_roles: None };
    NamespaceFields { name: namespace_name(namespace), annotations }
}
