//! A pod as tests speak of it.

use serde_json::{Value, json};

/// A pod that runs on a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The node it runs on.
    pub node: String,
    /// The node's address.
    pub host_ip: String,
    /// Its own addresses; the first is `podIP`.
    pub ips: Vec<String>,
    /// `Pending`, `Running`, `Succeeded`, `Failed`.
    pub phase: String,
    /// Whether it shares the node's network.
    pub host_network: bool,
    /// Its annotations.
    pub annotations: Vec<(String, String)>,
}

impl Pod {
    /// A running pod with one address and, unless it is empty, the annotation for a role.
    pub fn new(namespace: &str, name: &str, node: &str, ip: &str, role: &str) -> Self {
        let role = (!role.is_empty()).then(|| ("iam.amazonaws.com/role".into(), role.into()));
        Self {
            namespace: namespace.into(),
            name: name.into(),
            node: node.into(),
            host_ip: "127.0.0.1".into(),
            ips: vec![ip.into()],
            phase: "Running".into(),
            host_network: false,
            annotations: role.into_iter().collect(),
        }
    }

    pub(super) fn to_object(&self) -> Value {
        let annotations: Value = self.annotations.iter().cloned().collect();
        let ips: Vec<Value> = self.ips.iter().map(|ip| json!({"ip": ip})).collect();
        json!({
            "metadata": {"namespace": self.namespace, "name": self.name, "annotations": annotations},
            "spec": {
                "nodeName": self.node,
                "hostNetwork": self.host_network,
                "containers": [{"name": "main", "image": "app"}],
            },
            "status": {"phase": self.phase, "hostIP": self.host_ip, "podIP": self.ips.first(), "podIPs": ips},
        })
    }
}
