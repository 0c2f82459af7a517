//! Servers with `--peers`: each tells of the nodes that the others supply, too.

use std::fs;
use std::net::SocketAddr;

use http::StatusCode;
use kiam_common::args::TlsArgs;
use kiam_common::testing::metrics::value;
use kiam_proto::node::fleet_client::FleetClient;
use kiam_proto::node::{CollectMetricsRequest, ExplainRequest, ListNodesRequest, PodName, explain_request};
use kiam_tests::real::http::{LOCALHOST, get};
use kiam_tests::real::program::Invocation;
use kiam_tests::real::{eventually, free_port};
use kiam_tests::stack::Program;
use serde_json::Value;
use tonic::{Code, Request};

use crate::emulated::{Emulated, ask_for};
use crate::grpc::channel;
use crate::operators::token_user;
use crate::world::{PROGRAMS, server, wait_until_ready, with_identity};

/// The name of a series with credentials that were answered.
const SUCCESS: &str = r#"kiam_metadata_success_total{handler="credentials"}"#;

/// Two servers that know of each other, with certificates of their own, and an agent of each.
struct Pair {
    around: Emulated,
    servers: [Program; 2],
    agents: [Program; 2],
    /// Of the second server.
    second: TlsArgs,
    operator: TlsArgs,
}

impl Pair {
    /// With this `--node-binding`.
    async fn start(binding: &str) -> Self {
        let around = Emulated::start().await;
        let second = around.identities.pki.issue("server-b", &["localhost", "127.0.0.1"]);
        let at: [SocketAddr; 2] = [(); 2].map(|()| (LOCALHOST, free_port()).into());
        let peers = at.map(|server| server.to_string()).join(",");
        let bound = |program: Invocation, at: SocketAddr| {
            program.flag("--bind", at).flag("--peers", &peers).flag("--node-binding", binding)
        };
        let beside = server(&around.logs.path().join("kubeconfig"), &around.sts.url(), &second);
        let servers = [
            around.logs.start("server-a", &bound(around.server(), at[0])).await,
            around.logs.start("server-b", &bound(beside, at[1])).await,
        ];
        let agent = async |node: &str, server: SocketAddr| {
            around.kube.set_token(node, Some(token_user(node)));
            let token = around.logs.path().join(format!("{node}.token"));
            fs::write(&token, node).expect("the token can be written");
            let agent = around.agent(server).flag("--node-name", node).flag("--server-token-file", token.display());
            around.logs.start(node, &agent).await
        };
        let agents = [agent("node-a", at[0]).await, agent("node-b", at[1]).await];
        for program in servers.iter().chain(&agents) {
            wait_until_ready(program).await;
        }
        let operator = around.identities.pki.issue("operator", &["kiam-operator"]);
        Self { around, servers, agents, second, operator }
    }

    /// What a server's listener answers.
    async fn ask(&self, server: usize, path: &str) -> String {
        let answer = get(LOCALHOST, self.servers[server].addresses().ops, path).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        answer.body
    }

    /// The addresses that `/sd` of a server tells, in order.
    async fn targets(&self, server: usize) -> Vec<String> {
        let told: Value = serde_json::from_str(&self.ask(server, "/sd").await).expect("JSON");
        let mut targets: Vec<String> =
            told.as_array().expect("a list").iter().map(|target| target["targets"][0].to_string()).collect();
        targets.sort();
        targets
    }

    fn status(&self, server: usize) -> (i32, Value) {
        let status = with_identity(Invocation::new(PROGRAMS, &["server", "status"]), &self.operator);
        let (code, said) =
            status.flag("--server-address", self.servers[server].addresses().main).flag("--json", true).run();
        (code, serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}")))
    }
}

fn addresses<'p>(programs: impl IntoIterator<Item = &'p Program>) -> Vec<String> {
    let mut addresses: Vec<String> =
        programs.into_iter().map(|program| format!("\"{}\"", program.addresses().ops)).collect();
    addresses.sort();
    addresses
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_server_tells_of_all_servers_and_of_all_agents() {
    let mut pair = Pair::start("off").await;
    let all = addresses(pair.servers.iter().chain(&pair.agents));
    for server in [0, 1] {
        eventually("everybody to be told", async || (pair.targets(server).await == all).then_some(())).await;
        let metrics = pair.ask(server, "/metrics").await;
        assert_eq!(value(&metrics, "kiam_peers_answering"), Some(1.0), "itself is not one");
        assert_eq!(value(&metrics, "kiam_peers_missing"), Some(0.0));
    }
    let pod = pair.around.run_pod("reader", "reader");
    for (agent, times) in pair.agents.iter().zip([2, 3]) {
        for _ in 0..times {
            assert_eq!(ask_for(agent.addresses().main, pod, "reader").await.status, StatusCode::OK);
        }
    }
    for server in [0, 1] {
        let fleet = pair.ask(server, "/metrics?scope=fleet").await;
        assert_eq!(value(&fleet, SUCCESS), Some(5.0), "{fleet}");
        assert_eq!(value(&fleet, "kiam_fleet_metrics_agents"), Some(2.0));
        assert_eq!(value(&fleet, "kiam_nodes_connected"), Some(1.0), "its own series are its own");
        let by_node = pair.ask(server, "/metrics?scope=fleet&per_node=true").await;
        for (node, wanted) in [("node-a", 2.0), ("node-b", 3.0)] {
            let series = format!(r#"kiam_metadata_success_total{{handler="credentials",node="{node}"}}"#);
            assert_eq!(value(&by_node, &series), Some(wanted), "{by_node}");
        }
    }
    let (code, shown) = pair.status(0);
    let nodes = shown["nodes"].as_array().expect("nodes");
    let names: Vec<&str> = nodes.iter().filter_map(|node| node["name"].as_str()).collect();
    assert_eq!((code, names, shown["servers"].as_array().map(Vec::len)), (0, vec!["node-a", "node-b"], Some(2)));

    pair.servers[1].kill().await.expect("the server can be killed");
    let known = addresses([&pair.servers[0], &pair.agents[0]]);
    eventually("the lost server to be left out", async || (pair.targets(0).await == known).then_some(())).await;
    let metrics = pair.ask(0, "/metrics").await;
    assert_eq!(value(&metrics, "kiam_peers_answering"), Some(0.0));
    assert!(value(&metrics, "kiam_peers_missing") >= Some(1.0), "{metrics}");
    let fleet = pair.ask(0, "/metrics?scope=fleet").await;
    assert_eq!(value(&fleet, SUCCESS), Some(2.0));
    let (code, shown) = pair.status(0);
    assert_eq!(code, 1, "{shown}");
    assert!(shown["warnings"][0].as_str().is_some_and(|it| it.contains("does not answer")), "{shown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_server_sees_nodes_and_series_and_no_pods_and_an_agent_sees_its_own() {
    let pair = Pair::start("token").await;
    let address = pair.servers[0].addresses().main;
    pair.around.run_pod("reader", "reader");
    eventually("the agent's stream", async || {
        (value(&pair.ask(0, "/metrics").await, "kiam_nodes_connected") == Some(1.0)).then_some(())
    })
    .await;
    let mut server = FleetClient::new(channel(address, &pair.second).await);
    let listed = server.list_nodes(ListNodesRequest { whole_fleet: true }).await.expect("nodes").into_inner();
    assert_eq!((listed.nodes.len(), listed.peers.len()), (1, 0), "what others supply is for operators to ask");
    let mut series =
        server.collect_metrics(CollectMetricsRequest { per_node: true }).await.expect("series").into_inner();
    assert!(!series.message().await.expect("a piece").expect("one at least").families.is_empty());
    let pod = PodName { namespace: "apps".into(), name: "reader".into() };
    let explain = ExplainRequest { pod: Some(explain_request::Pod::Name(pod)) };
    assert_eq!(server.explain(explain).await.expect_err("no agent").code(), Code::Unauthenticated);

    let mut agent = FleetClient::new(channel(address, &pair.around.identities.agent).await);
    let refused = agent.collect_metrics(CollectMetricsRequest::default()).await.expect_err("not for agents");
    assert_eq!(refused.code(), Code::PermissionDenied);
    let mut request = Request::new(ListNodesRequest { whole_fleet: true });
    request.metadata_mut().insert("authorization", "Bearer node-b".parse().expect("a token"));
    let listed = agent.list_nodes(request).await.expect("an answer").into_inner();
    assert_eq!((listed.nodes.len(), listed.peers.len()), (0, 0), "its own node is the other server's");
}
