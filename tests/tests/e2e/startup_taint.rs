//! New nodes lose their startup taint when their agents are at work. With a real Kubernetes API server, and the rights that
//! the chart gives, `installed` shows the same.

use kiam_common::testing::metrics::count;
use kiam_tests::real::eventually;
use kiam_tests::real::program::Invocation;
use kiam_tests::stack::Program;
use serde_json::{Value, json};

use crate::emulated::Emulated;
use crate::world::metrics;

const KEY: &str = "example.com/agent-not-ready";

/// Everything around the programs, and the agent's node with two taints.
async fn new_node() -> Emulated {
    let around = Emulated::start().await;
    let taints = json!([{"key": KEY, "value": "true", "effect": "NoSchedule"}, {"key": "gpu", "effect": "NoSchedule"}]);
    let node = json!({"kind": "Node", "metadata": {"name": "node-a"}, "spec": {"taints": taints}});
    around.kube.apply(&node).expect("the node is taken");
    around
}

/// A server that binds agents by tokens.
fn server(around: &Emulated) -> Invocation {
    around.server().flag("--node-binding", "token")
}

/// Starts the agent of a node.
async fn start_agent(around: &Emulated, server: &Program, node: &str) -> Program {
    around.logs.start(node, &around.agent_of(node, server.addresses().main)).await
}

/// The keys of the node's taints.
fn taints(around: &Emulated) -> Vec<Value> {
    let node = around.kube.node("node-a").expect("the node is there");
    node["spec"]["taints"].as_array().expect("taints").iter().map(|taint| taint["key"].clone()).collect()
}

/// Waits until the server has looked at so many nodes with this outcome.
async fn looked(server: &Program, outcome: &str, times: i64) {
    let series = format!("kiam_startup_taints_total{{outcome=\"{outcome}\"}}");
    eventually(&series, async || (count(&metrics(server).await, &series) == Some(times)).then_some(())).await;
}

#[tokio::test]
async fn a_node_loses_its_startup_taint_and_no_other_when_its_own_agent_is_at_work() {
    let around = new_node().await;
    let server = around.logs.start("server", &server(&around).flag("--startup-taint", KEY)).await;
    // A node that the API does not know: its agent frees nobody else's.
    let _other = start_agent(&around, &server, "node-b").await;
    eventually("the other agent's node to be missed", async || {
        around.logs.read().contains("could not take the startup taint away").then_some(())
    })
    .await;
    assert_eq!(taints(&around), [KEY, "gpu"]);

    let first = start_agent(&around, &server, "node-a").await;
    looked(&server, "removed", 1).await;
    assert_eq!(taints(&around), ["gpu"]);
    assert!(around.logs.read().contains("took the startup taint away"));
    drop(first);
    let _second = start_agent(&around, &server, "node-a").await;
    looked(&server, "absent", 1).await;
    assert_eq!(taints(&around), ["gpu"]);
}

#[tokio::test]
async fn without_the_flag_nodes_are_not_looked_at() {
    let around = new_node().await;
    let server = around.logs.start("server", &server(&around)).await;
    let _agent = start_agent(&around, &server, "node-a").await;
    eventually("the agent's stream", async || {
        (count(&metrics(&server).await, "kiam_nodes_connected") == Some(1)).then_some(())
    })
    .await;
    assert_eq!(taints(&around), [KEY, "gpu"]);
    assert!(around.kube.seen().iter().all(|request| !request.path.starts_with("/api/v1/nodes")));
    assert!(!metrics(&server).await.contains("kiam_startup_taints_total"));
}
