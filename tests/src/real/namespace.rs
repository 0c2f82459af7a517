//! A namespace of a real cluster that one test has for itself, and the pods in it.
//!
//! No kubelet runs: pods are made and then said to run, at addresses of 127.0.0.0/8 from which requests can really be
//! sent on this machine.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU32, Ordering};

use k8s_openapi::api::core::v1::{self as core, Event};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

/// The pod annotation that names the role.
pub const ROLE: &str = "iam.amazonaws.com/role";
/// The pod annotation that replaces `--session`.
pub const SESSION_NAME: &str = "iam.amazonaws.com/session-name";
/// The pod annotation with the ExternalId for STS.
pub const EXTERNAL_ID: &str = "iam.amazonaws.com/external-id";
/// The namespace annotation with the expression that the role's ARN must match.
pub const PERMITTED: &str = "iam.amazonaws.com/permitted";

/// The service account of agents.
pub const AGENT_ACCOUNT: &str = "kiam-agent";

/// Annotations and their values.
pub type Annotations<'a> = &'a [(&'a str, &'a str)];

/// A namespace that exists.
#[derive(Clone)]
pub struct Namespace {
    client: Client,
    /// Its name, which no other test has.
    pub name: String,
}

/// A pod that was said to run.
#[derive(Clone, Debug)]
pub struct Pod {
    /// Its name.
    pub name: String,
    /// Its address.
    pub ip: Ipv4Addr,
}

impl Namespace {
    /// Makes one with these annotations.
    pub async fn create(client: Client, annotations: Annotations<'_>) -> Self {
        let namespaces = Api::<core::Namespace>::all(client.clone());
        let manifest = json!({"metadata": {"generateName": "test-", "annotations": map(annotations)}});
        let created = namespaces.create(&PostParams::default(), &object(manifest)).await.expect("a namespace");
        Self { client, name: created.name_any() }
    }

    /// Changes its annotations; `Value::Null` removes one.
    pub async fn annotate(&self, annotations: Value) {
        let patch = Patch::Merge(json!({"metadata": {"annotations": annotations}}));
        let namespaces = Api::<core::Namespace>::all(self.client.clone());
        namespaces.patch(&self.name, &PatchParams::default(), &patch).await.expect("an annotated namespace");
    }

    /// Runs a pod at an address that no other pod has.
    pub async fn run(&self, name: &str, annotations: Annotations<'_>) -> Pod {
        self.run_at(free_ip(), name, annotations).await
    }

    /// Runs a pod at this address.
    pub async fn run_at(&self, ip: Ipv4Addr, name: &str, annotations: Annotations<'_>) -> Pod {
        self.run_as(ip, name, annotations, json!({"nodeName": "node-a"})).await
    }

    /// Runs a pod on this node.
    pub async fn run_on(&self, node: &str, name: &str, annotations: Annotations<'_>) -> Pod {
        self.run_as(free_ip(), name, annotations, json!({"nodeName": node})).await
    }

    /// Runs an agent's pod on this node: it has the account `kiam-agent`, and no role.
    pub async fn run_agent(&self, node: &str, name: &str) -> Pod {
        let accounts = Api::<core::ServiceAccount>::namespaced(self.client.clone(), &self.name);
        let account = PatchParams::apply("tests");
        let manifest = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": AGENT_ACCOUNT}});
        accounts.patch(AGENT_ACCOUNT, &account, &Patch::Apply(manifest)).await.expect("the agents' account");
        let spec = json!({"nodeName": node, "hostNetwork": true, "serviceAccountName": AGENT_ACCOUNT});
        self.run_as(free_ip(), name, &[], spec).await
    }

    async fn run_as(&self, ip: Ipv4Addr, name: &str, annotations: Annotations<'_>, mut spec: Value) -> Pod {
        spec["containers"] = json!([{"name": "app", "image": "app"}]);
        let manifest = json!({"metadata": {"name": name, "annotations": map(annotations)}, "spec": spec});
        self.pods().create(&PostParams::default(), &object(manifest)).await.expect("a pod");
        let pod = Pod { name: name.into(), ip };
        self.set_phase(&pod, "Running").await;
        pod
    }

    /// Says what a kubelet would say about the pod.
    pub async fn set_phase(&self, pod: &Pod, phase: &str) {
        let status = json!({"status": {"phase": phase, "podIP": pod.ip, "podIPs": [{"ip": pod.ip}]}});
        let patched = self.pods().patch_status(&pod.name, &PatchParams::default(), &Patch::Merge(status)).await;
        patched.expect("the pod's status");
    }

    /// Removes the pod at once.
    pub async fn delete(&self, pod: &Pod) {
        self.pods().delete(&pod.name, &DeleteParams::default().grace_period(0)).await.expect("the pod is deleted");
    }

    /// The events on the pod.
    pub async fn events(&self, pod: &Pod) -> Vec<Event> {
        let of_pod = ListParams::default().fields(&format!("involvedObject.kind=Pod,involvedObject.name={}", pod.name));
        Api::namespaced(self.client.clone(), &self.name).list(&of_pod).await.expect("the pod's events").items
    }

    /// The pod as the API server has it.
    pub async fn get(&self, pod: &Pod) -> core::Pod {
        self.pods().get(&pod.name).await.expect("the pod exists")
    }

    fn pods(&self) -> Api<core::Pod> {
        Api::namespaced(self.client.clone(), &self.name)
    }
}

/// An address of 127.0.0.0/8 that no other pod of this test program has.
pub fn free_ip() -> Ipv4Addr {
    static NEXT: AtomicU32 = AtomicU32::new(u32::from_be_bytes([127, 16, 0, 1]));
    Ipv4Addr::from(NEXT.fetch_add(1, Ordering::Relaxed))
}

fn map(annotations: Annotations<'_>) -> Value {
    annotations.iter().map(|(key, value)| ((*key).to_owned(), Value::from(*value))).collect()
}

fn object<K: serde::de::DeserializeOwned>(manifest: Value) -> K {
    serde_json::from_value(manifest).expect("the manifest is sound")
}
