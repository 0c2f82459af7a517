//! Which addresses nodes have, as far as the pods on them tell.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

/// The addresses of nodes. Those without a pod are dropped whenever the index has doubled.
#[derive(Debug, Default)]
pub(super) struct HostIndex {
    addresses: HashMap<Arc<str>, Box<[IpAddr]>>,
    sweep_at: usize,
}

impl HostIndex {
    const SMALLEST_SWEEP: usize = 1024;

    /// A pod on the node says that its host has these addresses. Nodes can speak for themselves only, and every pod on
    /// a node says the same.
    pub(super) fn note(&mut self, node: &Arc<str>, addresses: &[IpAddr], has_pods: impl Fn(&Arc<str>) -> bool) {
        if addresses.is_empty() || self.addresses.get(node).is_some_and(|known| **known == *addresses) {
            return;
        }
        if self.addresses.len() >= self.sweep_at {
            self.addresses.retain(|node, _| has_pods(node));
            self.sweep_at = (self.addresses.len() * 2).max(Self::SMALLEST_SWEEP);
        }
        self.addresses.insert(Arc::clone(node), addresses.into());
    }

    /// Whether a node has an address.
    pub(super) fn has(&self, node: &str, address: IpAddr) -> bool {
        self.addresses.get(node).is_some_and(|addresses| addresses.contains(&address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_without_pods_do_not_pile_up() {
        let (mut hosts, address) = (HostIndex::default(), IpAddr::from([10, 1, 0, 1]));
        hosts.note(&"kept".into(), &[address], |_| true);
        for n in 0..100_000 {
            hosts.note(&n.to_string().into(), &[address], |node| &**node == "kept");
        }
        assert!(hosts.addresses.len() <= HostIndex::SMALLEST_SWEEP + 1, "{}", hosts.addresses.len());
        assert!(hosts.has("kept", address));
    }
}
