//! What a server shows of its agents: `/metrics?scope=fleet` and `/sd`.

use std::net::IpAddr;

use http::StatusCode;
use kiam_common::VERSION;
use kiam_common::testing::metrics::value;
use kiam_tests::real::eventually;
use kiam_tests::real::http::{Answer, LOCALHOST, get};
use kiam_tests::real::program::Invocation;
use kiam_tests::real::prometheus::lint;
use kiam_tests::stack::Program;
use serde_json::{Value, json};

use crate::emulated::{Emulated, ask_for};
use crate::world::wait_until_ready;

const SUCCESS: &str = r#"kiam_metadata_success_total{handler="credentials"}"#;

/// A server with an agent on each of two nodes, all of them supplied.
struct Fleet {
    around: Emulated,
    server: Program,
    agents: [Program; 2],
}

impl Fleet {
    async fn start(change: impl Fn(Invocation) -> Invocation) -> Self {
        let around = Emulated::start().await;
        let server = around.logs.start("server", &change(around.server())).await;
        let agent = async |node: &str| {
            let agent = change(around.agent(server.addresses().main)).flag("--node-name", node);
            around.logs.start(node, &agent).await
        };
        let agents = [agent("node-a").await, agent("node-b").await];
        for agent in &agents {
            wait_until_ready(agent).await;
        }
        let fleet = Self { around, server, agents };
        eventually("both agents to be supplied", async || {
            let told: Value = serde_json::from_str(&fleet.ask("/sd").await.body).expect("JSON");
            (told.as_array().map(Vec::len) == Some(3)).then_some(())
        })
        .await;
        fleet
    }

    /// What the server's listener answers.
    async fn ask(&self, path: &str) -> Answer {
        get(LOCALHOST, self.server.addresses().ops, path).await
    }

    /// Lets a pod get credentials from an agent, so many times.
    async fn serve(&self, agent: &Program, pod: IpAddr, times: usize) {
        for _ in 0..times {
            assert_eq!(ask_for(agent.addresses().main, pod, "reader").await.status, StatusCode::OK);
        }
    }
}

#[tokio::test]
async fn the_fleets_series_are_the_servers_and_all_agents_added_up_or_by_node() {
    let fleet = Fleet::start(|program| program).await;
    let pod = fleet.around.run_pod("reader", "reader");
    fleet.serve(&fleet.agents[0], pod, 2).await;
    fleet.serve(&fleet.agents[1], pod, 3).await;

    let all = fleet.ask("/metrics?scope=fleet").await.body;
    for (series, wanted) in [
        (SUCCESS, 5.0),
        (r#"kiam_metadata_handler_latency_seconds_count{handler="credentials"}"#, 5.0),
        ("kiam_stream_connected", 2.0),
        ("kiam_nodes_connected", 2.0),
        ("kiam_fleet_metrics_agents", 2.0),
        ("kiam_fleet_metrics_missing", 0.0),
        (&format!("kiam_build_info{{version=\"{VERSION}\"}}"), 1.0),
        (&format!("kiam_build_info{{component=\"agent\",version=\"{VERSION}\"}}"), 2.0),
    ] {
        assert_eq!(value(&all, series), Some(wanted), "{series}");
    }
    assert!(!all.contains("grpc_client_tls_certificate_expiry_seconds"), "points in time do not add up");
    let complaints = lint(&all);
    assert!(complaints.len() == 1 && complaints[0].starts_with("kiam_sts_cacheSize "), "{complaints:?}");

    let by_node = fleet.ask("/metrics?scope=fleet&per_node=true&filter=kiam_metadata_success_total").await.body;
    for (node, wanted) in [("node-a", 2.0), ("node-b", 3.0)] {
        let series = format!(r#"kiam_metadata_success_total{{handler="credentials",node="{node}"}}"#);
        assert_eq!(value(&by_node, &series), Some(wanted), "{by_node}");
    }
    let by_node = fleet.ask("/metrics?scope=fleet&per_node=true").await.body;
    assert!(by_node.contains(r#"grpc_client_tls_certificate_expiry_seconds{node="node-b"}"#), "{by_node}");
    assert!(!fleet.ask("/metrics").await.body.contains("kiam_stream_connected"), "only if the fleet is asked for");
}

#[tokio::test]
async fn an_agent_that_leaves_is_no_longer_counted() {
    let mut fleet = Fleet::start(|program| program).await;
    fleet.agents[1].stop().await.expect("the agent ends");
    eventually("the agent to be gone", async || {
        let all = fleet.ask("/metrics?scope=fleet").await.body;
        (value(&all, "kiam_stream_connected") == Some(1.0)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_wrong_scope_is_told_what_was_expected() {
    let fleet = Fleet::start(|program| program).await;
    for query in ["scope=cluster", "per_node=true", "scope=fleet&per_node=perhaps"] {
        let answer = fleet.ask(&format!("/metrics?{query}")).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{query}");
        assert!(answer.body.contains("expected"), "{}", answer.body);
    }
    let agent = get(LOCALHOST, fleet.agents[0].addresses().ops, "/metrics?scope=fleet").await;
    assert_eq!(agent.status, StatusCode::BAD_REQUEST, "{}", agent.body);
}

#[tokio::test]
async fn discovery_tells_prometheus_where_the_server_and_every_agent_are() {
    let fleet = Fleet::start(|program| program.flag("--metrics-path", "/kiam/metrics")).await;
    let answer = fleet.ask("/sd").await;
    assert_eq!((answer.status, answer.header("content-type")), (StatusCode::OK, "application/json"));
    let told: Value = serde_json::from_str(&answer.body).expect("JSON");
    let target = |program: &Program, component: &str| {
        json!({"targets": [program.addresses().ops.to_string()], "labels": {
            "__metrics_path__": "/kiam/metrics",
            "__scheme__": "http",
            "__meta_kiam_component": component,
            "__meta_kiam_version": VERSION,
        }})
    };
    let mut wanted = vec![target(&fleet.server, "server")];
    for (agent, node) in fleet.agents.iter().zip(["node-a", "node-b"]) {
        let mut agent = target(agent, "agent");
        agent["labels"]["__meta_kiam_node"] = node.into();
        agent["labels"]["__meta_kiam_zone"] = "eu-west-1a".into();
        wanted.push(agent);
    }
    assert_eq!(told, Value::from(wanted));
}
