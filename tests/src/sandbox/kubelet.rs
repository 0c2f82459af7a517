//! The scheduler and the kubelets of the sandbox's cluster: each new pod gets a node and an address.

use std::collections::HashMap;

use serde_json::Value;

use crate::stack::{Node, Stack};

/// Gives nodes and addresses. Addresses are never given twice.
#[derive(Debug, Default)]
pub(super) struct Kubelet {
    /// How many addresses each node has given.
    given: HashMap<String, u32>,
}

impl Kubelet {
    /// Runs each pod that has no address and is not finished. A pod that asks for a node that is not there waits for
    /// it, as in any cluster.
    pub(super) fn settle(&mut self, stack: &Stack) {
        for pod in stack.kube.pods() {
            let waits = pod["status"]["podIP"].is_null() && pod["status"]["phase"] == "Pending";
            let Some(node) = waits.then(|| self.node_for(&pod, &stack.nodes)).flatten() else { continue };
            let text = |field: &str| pod["metadata"][field].as_str().unwrap_or_default();
            let address = self.next_address(&node.name, &stack.nodes);
            stack.kube.run_pod(text("namespace"), text("name"), &node.name, &node.ip.to_string(), &address);
        }
    }

    /// The node that the pod names, or the one that has run the fewest.
    fn node_for<'a>(&self, pod: &Value, nodes: &'a [Node]) -> Option<&'a Node> {
        match pod["spec"]["nodeName"].as_str() {
            Some(name) => nodes.iter().find(|node| node.name == name),
            None => nodes.iter().min_by_key(|node| self.given.get(&node.name).copied().unwrap_or(0)),
        }
    }

    /// `127.<number of the node>.x.y`, from .0.10 on.
    fn next_address(&mut self, node: &str, nodes: &[Node]) -> String {
        let number = 1 + nodes.iter().position(|one| one.name == node).unwrap_or_default();
        let given = self.given.entry(node.into()).or_default();
        let host = 10 + *given;
        *given += 1;
        format!("127.{number}.{}.{}", host / 250, host % 250)
    }
}
