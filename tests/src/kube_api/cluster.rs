//! What goes on around the API in a cluster: manifests are applied, and a scheduler and kubelets run the pods.

use std::sync::Arc;

use serde_json::{Value, json};

use super::KubeApi;
use super::failure::Failure;
use super::kind::{self, Kind, NODE, POD};
use super::objects::{self, Place};
use super::store::text;

impl KubeApi {
    /// Creates the object that `manifest` describes, or makes it so; a pod stays on its node. Says why if the
    /// manifest is refused.
    pub fn apply(&self, manifest: &Value) -> Result<(), String> {
        let place = place_of(manifest)?;
        let now = self.service.clock.now();
        let applied = self.service.change(|store| match store.get(place.kind, &place.namespace, &place.name) {
            None => objects::create(store, place.kind, &place.namespace, manifest.clone(), now),
            Some(current) => {
                let mut wanted = manifest.clone();
                if *place.kind == POD && wanted["spec"]["nodeName"].is_null() {
                    wanted["spec"]["nodeName"] = current["spec"]["nodeName"].clone();
                }
                objects::update(store, &place, wanted)
            }
        });
        applied.map(drop).map_err(|failure| said(&failure))
    }

    /// Deletes the pod or namespace that `manifest` describes; one that is gone already is no error.
    pub fn delete(&self, manifest: &Value) -> Result<(), String> {
        let place = place_of(manifest)?;
        match self.service.change(|store| objects::delete(store, &place, &Value::Null)) {
            Ok(_) | Err(Failure::NotFound(..)) => Ok(()),
            Err(failure) => Err(said(&failure)),
        }
    }

    /// Puts a pod on a node and lets it run there under an address, as a scheduler and a kubelet do. A pod that has
    /// gone in the meantime stays gone.
    pub fn run_pod(&self, namespace: &str, name: &str, node: &str, host_ip: &str, pod_ip: &str) {
        self.service.change(|store| {
            let Some(pod) = store.get(&POD, namespace, name) else { return };
            let mut pod = Value::clone(&pod);
            pod["spec"]["nodeName"] = json!(node);
            pod["status"] = json!({
                "phase": "Running",
                "hostIP": host_ip,
                "podIP": pod_ip,
                "podIPs": [{"ip": pod_ip}],
                "conditions": [{"type": "Ready", "status": "True"}],
            });
            store.put(&POD, pod);
        });
    }

    /// A node as it is now.
    pub fn node(&self, name: &str) -> Option<Arc<Value>> {
        self.service.store().get(&NODE, "", name)
    }

    /// A pod as it is now.
    pub fn pod(&self, namespace: &str, name: &str) -> Option<Arc<Value>> {
        self.service.store().get(&POD, namespace, name)
    }
}

fn place_of(manifest: &Value) -> Result<Place, String> {
    let given = manifest["kind"].as_str().unwrap_or_default();
    let kind: &'static Kind = kind::ALL
        .into_iter()
        .find(|kind| kind.name == given)
        .ok_or_else(|| format!("kind {given:?}: expected Pod, Namespace, Node or Event"))?;
    let namespace = match text(manifest, "namespace") {
        _ if !kind.namespaced => "",
        "" => "default",
        namespace => namespace,
    };
    let name = text(manifest, "name");
    if name.is_empty() {
        return Err(format!("a {given} without metadata.name"));
    }
    Ok(Place { kind, namespace: namespace.into(), name: name.into(), status: false })
}

fn said(failure: &Failure) -> String {
    failure.to_object()["message"].as_str().unwrap_or_default().into()
}
