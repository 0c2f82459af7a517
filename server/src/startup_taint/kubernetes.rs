//! Takes taints away through the Kubernetes API. Needs get and patch on nodes.

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use kube::{Client, Error};
use serde_json::{Value, json};

use super::{NodeError, Nodes, TaintKey};

/// How often a change is tried that others are faster than.
const TRIES: usize = 5;

/// The nodes of a cluster.
#[derive(Clone)]
pub struct KubernetesNodes {
    /// As they are written: a patch replaces the whole list of taints, with all that newer versions put into them.
    nodes: Api<DynamicObject>,
}

impl KubernetesNodes {
    /// Changes nodes through `client`.
    pub fn new(client: Client) -> Self {
        Self { nodes: Api::all_with(client, &ApiResource::erase::<Node>(&())) }
    }
}

#[async_trait]
impl Nodes for KubernetesNodes {
    /// A node that is not there is an error: one whose agent starts before the kubelet has registered it comes later, and
    /// with its taint.
    async fn remove_taint(&self, node: &str, key: &TaintKey) -> Result<bool, NodeError> {
        for _ in 0..TRIES {
            let found = self.nodes.get(node).await?;
            let Some(change) = without(&found, key)? else { return Ok(false) };
            match self.nodes.patch(node, &PatchParams::default(), &Patch::Merge(change)).await {
                Ok(_) => return Ok(true),
                Err(Error::Api(status)) if status.is_conflict() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(NodeError(format!("others changed the node first, {TRIES} times")))
    }
}

/// The change that leaves all taints but those with the key, if there is one, and that is refused if the node has been
/// changed since it was read.
fn without(node: &DynamicObject, key: &TaintKey) -> Result<Option<Value>, NodeError> {
    let taints = node.data.pointer("/spec/taints").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let others: Vec<&Value> = taints.iter().filter(|taint| taint["key"] != key.as_str()).collect();
    if others.len() == taints.len() {
        return Ok(None);
    }
    // A patch without a version would be taken whatever has changed.
    let version = node.metadata.resource_version.as_ref();
    let version = version.ok_or_else(|| NodeError("expected a node with a resourceVersion".into()))?;
    Ok(Some(json!({ "metadata": { "resourceVersion": version }, "spec": { "taints": others } })))
}

impl From<Error> for NodeError {
    fn from(error: Error) -> Self {
        Self(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::{Arc, Mutex};

    use http::{Method, Request, Response, StatusCode};
    use http_body_util::{BodyExt as _, Full};
    use kube::client::Body;

    use super::*;

    const KEY: &str = "example.com/new";

    /// An API server with `node-a`.
    #[derive(Clone)]
    struct Cluster(Arc<Mutex<State>>);

    struct State {
        taints: Value,
        version: usize,
        /// How often somebody else changes the node between a read and a change.
        others: usize,
        requests: Vec<String>,
    }

    impl Cluster {
        fn new(taints: Value, others: usize) -> Self {
            Self(Arc::new(Mutex::new(State { taints, version: 7, others, requests: Vec::new() })))
        }

        async fn remove_from(&self, node: &str) -> Result<bool, NodeError> {
            let cluster = self.clone();
            let service = tower::service_fn(move |request: Request<Body>| {
                let cluster = cluster.clone();
                async move {
                    let (parts, body) = request.into_parts();
                    let body = body.collect().await.unwrap().to_bytes();
                    let (status, answer) = cluster.0.lock().unwrap().answer(&parts.method, parts.uri.path(), &body);
                    let answer = Response::builder().status(status).body(Full::new(bytes::Bytes::from(answer)));
                    Ok::<_, Infallible>(answer.unwrap())
                }
            });
            KubernetesNodes::new(Client::new(service, "default")).remove_taint(node, &KEY.parse().unwrap()).await
        }

        fn requests(&self) -> Vec<String> {
            self.0.lock().unwrap().requests.clone()
        }
    }

    impl State {
        fn answer(&mut self, method: &Method, path: &str, body: &[u8]) -> (StatusCode, String) {
            self.requests.push(format!("{method} {path}"));
            if path != "/api/v1/nodes/node-a" {
                return failure(StatusCode::NOT_FOUND, "NotFound");
            }
            if *method == Method::PATCH {
                let change: Value = serde_json::from_slice(body).unwrap();
                if self.others > 0 {
                    (self.others, self.version) = (self.others - 1, self.version + 1);
                }
                if change["metadata"] != json!({ "resourceVersion": self.version.to_string() }) {
                    return failure(StatusCode::CONFLICT, "Conflict");
                }
                assert_eq!(change["spec"].as_object().unwrap().len(), 1, "{change}");
                self.taints = change["spec"]["taints"].clone();
                self.version += 1;
            }
            let node = json!({
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": { "name": "node-a", "resourceVersion": self.version.to_string() },
                "spec": { "podCIDR": "10.0.0.0/24", "taints": self.taints },
            });
            (StatusCode::OK, node.to_string())
        }
    }

    fn failure(code: StatusCode, reason: &str) -> (StatusCode, String) {
        let status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": "no", "reason": reason, "code": code.as_u16(),
        });
        (code, status.to_string())
    }

    /// Two with the key, and two that are somebody else's.
    fn taints() -> Value {
        json!([
            { "key": KEY, "value": "true", "effect": "NoSchedule" },
            { "key": "example.com/newer", "effect": "NoSchedule" },
            { "key": KEY, "effect": "NoExecute", "timeAdded": "2026-11-21T10:00:00Z" },
            { "key": "gpu", "value": "yes", "effect": "NoExecute", "unheardOf": 1 },
        ])
    }

    #[tokio::test]
    async fn every_taint_with_the_key_goes_and_the_others_stay_as_they_are() {
        let cluster = Cluster::new(taints(), 0);
        assert!(cluster.remove_from("node-a").await.unwrap());
        let all = taints();
        assert_eq!(cluster.0.lock().unwrap().taints, json!([all[1], all[3]]));
        assert_eq!(cluster.requests(), ["GET /api/v1/nodes/node-a", "PATCH /api/v1/nodes/node-a"]);
    }

    #[tokio::test]
    async fn a_node_without_the_taint_is_not_changed() {
        for taints in [Value::Null, json!([]), json!([{ "key": "gpu", "effect": "NoSchedule" }])] {
            let cluster = Cluster::new(taints, 0);
            assert!(!cluster.remove_from("node-a").await.unwrap());
            assert_eq!(cluster.requests(), ["GET /api/v1/nodes/node-a"]);
        }
    }

    #[tokio::test]
    async fn a_node_that_others_change_meanwhile_is_read_again_a_few_times() {
        let cluster = Cluster::new(taints(), 4);
        assert!(cluster.remove_from("node-a").await.unwrap());
        assert_eq!(cluster.requests().len(), 10);
        let cluster = Cluster::new(taints(), 100);
        let error = cluster.remove_from("node-a").await.unwrap_err();
        assert_eq!(error.to_string(), "others changed the node first, 5 times");
    }

    #[tokio::test]
    async fn a_node_that_is_not_there_is_an_error_as_it_may_be_to_come() {
        let error = Cluster::new(taints(), 0).remove_from("node-b").await.unwrap_err();
        assert!(error.to_string().contains("NotFound"), "{error}");
    }
}
