//! What the server knows of the cluster: pods by IP, and what their namespaces permit.
//!
//! ```text
//! Kubernetes API ──► watch ──► apply / delete / reset ──► PodIndex, NamespaceIndex ──► look-ups by `issue`, `vault`, `desk`
//!                                                   └─► Change ──► vault, desk
//! ```
//!
//! Everything here but [`watch`] is plain and synchronous. A lock is held for one look-up
//! or one change, never for a list: a new list is indexed aside and swapped in whole, so that the old one answers
//! until the new one is complete.

mod by;
pub mod bystanders;
pub mod change;
pub mod entitlement;
mod few;
mod hosts;
mod intern;
pub mod namespaces;
pub mod pods;
pub mod sighting;
#[cfg(test)]
mod tests;
pub mod uid;
pub mod watch;

use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use kiam_common::role::RoleIdentity;
use tokio::sync::watch::Sender;

use crate::policy::namespace::{NamespacePolicy, NamespaceRule};
use crate::role::resolver::Resolver;
use change::{Change, Demand, Touched};
use namespaces::{NamespaceFields, NamespaceIndex};
use pods::{Owner, PodFields, PodIndex};

/// The server's index of pods and namespaces.
#[derive(Debug)]
pub struct Directory {
    resolver: Resolver,
    policy: NamespacePolicy,
    pods: RwLock<PodIndex>,
    namespaces: RwLock<NamespaceIndex>,
    /// Wakes those that wait for a pod or a namespace to appear.
    changes: Sender<()>,
}

impl Directory {
    /// An empty directory.
    pub fn new(resolver: Resolver, policy: NamespacePolicy) -> Self {
        Self { resolver, policy, pods: RwLock::default(), namespaces: RwLock::default(), changes: Sender::default() }
    }

    /// Takes in what the API says of a pod now.
    pub fn apply_pod(&self, fields: &PodFields) -> Change {
        let change = write(&self.pods).apply(fields, &self.resolver);
        self.changes.send_replace(());
        change
    }

    /// Forgets a pod.
    pub fn delete_pod(&self, uid: &str) -> Change {
        write(&self.pods).delete(&uid.into()).into()
    }

    /// Forgets whichever pod has a name.
    pub fn delete_pod_named(&self, namespace: &str, name: &str) -> Change {
        write(&self.pods).delete_named(namespace, name).into()
    }

    /// Adds a pod to a list that will replace the index.
    pub fn draft_pod(&self, draft: &mut PodIndex, fields: &PodFields) {
        draft.apply(fields, &self.resolver);
    }

    /// Replaces every pod by a complete list.
    pub fn reset_pods(&self, pods: PodIndex) -> Change {
        let demands = pods.demands(None);
        let old = std::mem::replace(&mut *write(&self.pods), pods);
        drop(old); // after the lock, as it takes a while
        self.changes.send_replace(());
        Change { demands, touched: Touched::Everything }
    }

    /// Takes in what the API says of a namespace now. Its pods ask anew if its rule is another.
    pub fn apply_namespace(&self, fields: &NamespaceFields) -> Change {
        let rule = self.policy.compile(&fields.annotations);
        if !write(&self.namespaces).apply(&fields.name, rule) {
            return Change::default();
        }
        self.changes.send_replace(());
        let pods = read(&self.pods);
        let demands = pods.demands(Some(&fields.name)).into_iter();
        Change {
            demands: demands.map(|demand| Demand { changed: true, ..demand }).collect(),
            touched: Touched::Addresses(pods.addresses_of_namespace(&fields.name)),
        }
    }

    /// Forgets a namespace; its pods get nothing from now on.
    pub fn delete_namespace(&self, name: &str) -> Change {
        write(&self.namespaces).delete(name);
        read(&self.pods).addresses_of_namespace(name).into()
    }

    /// Adds a namespace to a list that will replace the index.
    pub fn draft_namespace(&self, draft: &mut NamespaceIndex, fields: &NamespaceFields) {
        draft.apply(&fields.name, self.policy.compile(&fields.annotations));
    }

    /// Replaces every namespace by a complete list.
    pub fn reset_namespaces(&self, namespaces: NamespaceIndex) -> Change {
        *write(&self.namespaces) = namespaces;
        self.changes.send_replace(());
        Change { demands: read(&self.pods).demands(None), touched: Touched::Everything }
    }

    /// The IPs of the pods of a node; one that several of them have is named several times.
    pub fn ips_of_node(&self, node: &str) -> Vec<IpAddr> {
        read(&self.pods).ips_of_node(node).collect()
    }

    /// Which pod has an IP. If none is known, waits for one to appear.
    pub async fn wait_for_pod(&self, ip: IpAddr, up_to: Duration) -> Owner {
        let look = || match read(&self.pods).owner_of(ip) {
            Owner::Unknown => None,
            known => Some(known),
        };
        self.wait_for(up_to, look).await.unwrap_or(Owner::Unknown)
    }

    /// What a namespace permits. If it is not known, waits for it to appear.
    pub async fn wait_for_rule(&self, namespace: &str, up_to: Duration) -> Option<Arc<NamespaceRule>> {
        self.wait_for(up_to, || read(&self.namespaces).rule(namespace)).await
    }

    /// Whether policy lets the pods of the demand's namespace have what they ask for.
    pub fn permits(&self, demand: &Demand) -> bool {
        read(&self.namespaces).permits(&demand.namespace, &demand.identity.arn)
    }

    /// Whether a pod asks for a role identity and may have it.
    pub fn is_wanted(&self, identity: &Arc<RoleIdentity>) -> bool {
        let namespaces: Vec<_> = read(&self.pods).namespaces_asking_for(identity).map(Arc::clone).collect();
        let permits = |namespace: &Arc<str>| read(&self.namespaces).permits(namespace, &identity.arn);
        namespaces.iter().any(permits)
    }

    /// Everything that is asked for.
    pub fn demands(&self) -> Vec<Demand> {
        read(&self.pods).demands(None)
    }

    /// Whether a node has an address, as far as the pods on it tell.
    pub fn node_has(&self, node: &str, address: IpAddr) -> bool {
        read(&self.pods).node_has(node, address)
    }

    /// How many pods are known.
    pub fn pod_count(&self) -> usize {
        read(&self.pods).len()
    }

    /// How many namespaces are known.
    pub fn namespace_count(&self) -> usize {
        read(&self.namespaces).len()
    }

    async fn wait_for<T>(&self, up_to: Duration, look: impl Fn() -> Option<T>) -> Option<T> {
        let mut changes = self.changes.subscribe();
        let found = async {
            loop {
                if let Some(found) = look() {
                    return Some(found);
                }
                changes.changed().await.ok()?;
            }
        };
        tokio::time::timeout(up_to, found).await.ok().flatten()
    }
}

// A panic while a lock is held is a defect that the index survives: each change is complete in itself.
fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
