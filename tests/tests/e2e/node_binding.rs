//! Agents are bound to their nodes: by tokens of a real Kubernetes API server, by their addresses, and not at all.

use std::fs;
use std::net::IpAddr;

use http::StatusCode;
use kiam_common::reason::{Reason, Refusal};
use kiam_common::testing::metrics::{count, value};
use kiam_proto::kiam::kiam_service_client::KiamServiceClient;
use kiam_proto::kiam::{GetPodCredentialsRequest, GetPodRoleRequest};
use kiam_proto::node::node_message::Message;
use kiam_proto::node::node_sync_client::NodeSyncClient;
use kiam_proto::node::{Hello, NodeMessage, ServerMessage, server_message};
use kiam_tests::kube_api::Pod as EmulatedPod;
use kiam_tests::real::eventually;
use kiam_tests::real::jwt::{forge, strange_key};
use kiam_tests::real::namespace::{Namespace, PERMITTED, Pod, ROLE, free_ip};
use kiam_tests::real::program::Invocation;
use kiam_tests::stack::Program;
use serde_json::json;
use tokio_stream::StreamExt as _;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use crate::emulated::{Emulated, ask_for};
use crate::grpc::channel;
use crate::shared;
use crate::world::{World, agent, metrics};

const AUDIENCE: &str = "kiam-server";

/// A server that binds agents by tokens, and two nodes with an agent's pod and a pod with a role each.
struct TwoNodes {
    world: World,
    namespace: Namespace,
    tokens: [String; 2],
    pods: [Pod; 2],
}

impl TwoNodes {
    async fn start() -> Self {
        let kubernetes = shared::kubernetes().await;
        let client = kubernetes.client().await.expect("the API server is there");
        let namespace = Namespace::create(client, &[(PERMITTED, ".*")]).await;
        let (mut tokens, mut pods) = (Vec::new(), Vec::new());
        for node in ["node-a", "node-b"] {
            let agent = namespace.run_agent(node, &format!("agent-{node}")).await;
            tokens.push(kubernetes.agent_token(&namespace.name, AUDIENCE, Some(&agent.name)));
            pods.push(namespace.run_on(node, &format!("reader-{node}"), &[(ROLE, "reader")]).await);
        }
        let directory = tempfile::tempdir().expect("a directory for the token");
        let file = directory.path().join("token");
        fs::write(&file, &tokens[0]).expect("the token can be written");
        let sts = shared::moto().await.url();
        let bound = |server: Invocation| server.flag("--node-binding", "token");
        let of_node_a =
            |agent: Invocation| agent.flag("--node-name", "node-a").flag("--server-token-file", file.display());
        let world = World::with_flags(sts, bound, of_node_a).await;
        let (tokens, pods) = (tokens.try_into().expect("two"), pods.try_into().expect("two"));
        Self { world, namespace, tokens, pods }
    }

    async fn server(&self) -> Calls {
        Calls(channel(self.world.server.addresses().main, &self.world.identities.agent).await)
    }

    async fn refusals(&self, reason: &str) -> i64 {
        refusals(&self.world.server, reason).await
    }

    fn token(&self, audience: &str, pod: Option<&str>) -> String {
        self.world.kubernetes.agent_token(&self.namespace.name, audience, pod)
    }
}

/// Every call about pods.
struct Calls(Channel);

impl Calls {
    async fn role(&self, token: &str, pod: &Pod) -> Result<String, Status> {
        let request = bearing(token, GetPodRoleRequest { ip: pod.ip.to_string() });
        Ok(KiamServiceClient::new(self.0.clone()).get_pod_role(request).await?.into_inner().name)
    }

    async fn credentials(&self, token: &str, pod: &Pod) -> Result<String, Status> {
        let request = bearing(token, GetPodCredentialsRequest { ip: pod.ip.to_string(), role: "reader".into() });
        Ok(KiamServiceClient::new(self.0.clone()).get_pod_credentials(request).await?.into_inner().access_key_id)
    }

    /// Opens a stream for a node; its first message.
    async fn sync(&self, token: &str, node: &str) -> Result<ServerMessage, Status> {
        let hello = Message::Hello(Hello { node: node.into(), ..Hello::default() });
        let said = tokio_stream::once(NodeMessage { message: Some(hello) }).chain(tokio_stream::pending());
        let mut told = NodeSyncClient::new(self.0.clone()).sync(bearing(token, said)).await?.into_inner();
        Ok(told.message().await?.expect("a message"))
    }

    /// What each call says to an agent with this token that asks for this pod, or this node.
    async fn refusals(&self, token: &str, pod: &Pod, node: &str) -> Vec<(Code, Reason)> {
        let sync = self.sync(token, node).await.map(|message| format!("{message:?}"));
        let refused = [self.role(token, pod).await, self.credentials(token, pod).await, sync];
        let refused = refused.map(|answer| answer.expect_err("it is refused"));
        refused.iter().map(|status| (status.code(), Refusal::from_status(status).reason)).collect()
    }
}

fn bearing<M>(token: &str, message: M) -> Request<M> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().expect("a token"));
    request
}

#[tokio::test]
async fn an_agent_gets_its_own_nodes_pods_and_is_refused_every_others() {
    let nodes = TwoNodes::start().await;
    let (server, [own, other]) = (nodes.server().await, &nodes.pods);
    assert_eq!(nodes.world.ask_for(own, "reader").await.status, StatusCode::OK);
    let refused = nodes.world.ask_for(other, "reader").await;
    assert_eq!((refused.status, refused.field("Code")), (StatusCode::FORBIDDEN, "WrongNode".into()));
    assert!(nodes.refusals("wrong_node").await >= 1);

    let before = nodes.refusals("wrong_node").await;
    let (a, b) = (("node-a", own), ("node-b", other));
    for (token, (node, own), (other_node, other)) in [(&nodes.tokens[0], a, b), (&nodes.tokens[1], b, a)] {
        assert_eq!(server.role(token, own).await.expect("its own pod's role"), "reader");
        assert!(server.credentials(token, own).await.is_ok());
        let welcome = server.sync(token, node).await.expect("its own node's stream").message;
        assert!(matches!(welcome, Some(server_message::Message::Welcome(welcome)) if welcome.node == node));
        for refusal in server.refusals(token, other, other_node).await {
            assert_eq!(refusal, (Code::PermissionDenied, Reason::WrongNode));
        }
    }
    assert_eq!(nodes.refusals("wrong_node").await - before, 6);
    let log = nodes.world.logs.read();
    assert!(log.contains("node-a") && log.contains("node-b"));
    for token in &nodes.tokens {
        assert!(!log.contains(token.as_str()), "a token is told");
    }
}

#[tokio::test]
async fn tokens_that_are_forged_expired_for_others_unbound_or_revoked_are_refused() {
    let nodes = TwoNodes::start().await;
    let (server, pod) = (nodes.server().await, &nodes.pods[0]);
    let (good, key) = (&nodes.tokens[0], nodes.world.kubernetes.signing_key());
    assert!(server.role(&forge(good, &key, |claims| claims["again"] = json!(1)), pod).await.is_ok(), "signed soundly");

    let gone = nodes.namespace.run_agent("node-a", "gone").await;
    let revoked = nodes.token(AUDIENCE, Some(&gone.name));
    nodes.namespace.delete(&gone).await;
    let expired = forge(good, &key, |claims| {
        for (claim, time) in [("iat", 1_700_000_000), ("nbf", 1_700_000_000), ("exp", 1_700_003_600)] {
            claims[claim] = json!(time);
        }
    });
    let other_node = forge(good, &strange_key(), |claims| {
        claims["kubernetes.io"]["node"]["name"] = json!("node-b");
    });
    for (what, token, reason) in [
        ("forged", forge(good, &strange_key(), |_| ()), "token_refused"),
        ("forged for another node", other_node, "token_refused"),
        ("no token at all", "nonsense".into(), "token_refused"),
        ("expired", expired, "token_refused"),
        ("of a pod that is gone", revoked, "token_refused"),
        ("for others", nodes.token("somebody-else", Some("agent-node-a")), "token_refused"),
        ("for the API server", nodes.token("https://kubernetes.default.svc", Some("agent-node-a")), "token_refused"),
        ("of no pod", nodes.token(AUDIENCE, None), "not_of_node"),
    ] {
        let before = nodes.refusals(reason).await;
        for refusal in server.refusals(&token, pod, "node-a").await {
            assert_eq!(refusal, (Code::Unauthenticated, Reason::AgentRefused), "{what}");
        }
        assert_eq!(nodes.refusals(reason).await - before, 3, "{what}");
    }
}

#[tokio::test]
async fn an_agent_without_a_token_is_refused_and_says_so_to_its_pods() {
    let nodes = TwoNodes::start().await;
    let world = &nodes.world;
    let without = agent(world.server.addresses().main, &world.imds, &world.identities.agent);
    let without = world.logs.start("agent-without", &without).await;
    let refused = ask_for(without.addresses().main, IpAddr::V4(nodes.pods[0].ip), "reader").await;
    assert_eq!((refused.status, refused.field("Code")), (StatusCode::SERVICE_UNAVAILABLE, "AgentRefused".into()));
    assert!(nodes.refusals("no_token").await >= 1);
}

#[tokio::test]
async fn a_token_that_the_kubelet_replaces_is_the_one_that_counts() {
    let around = Emulated::start().await;
    let user = |node: &str| kiam_tests::kube_api::TokenUser {
        username: "system:serviceaccount:kube-system:kiam-agent".into(),
        extra: vec![("authentication.kubernetes.io/node-name".into(), node.into())],
        audiences: vec!["kiam-server.cluster-a".into()],
        ..Default::default()
    };
    around.kube.set_token("token-one", Some(user("node-b")));
    around.kube.set_token("token-two", Some(user("node-a")));
    let (file, server) = (around.logs.path().join("token"), around.server().flag("--node-binding", "token"));
    fs::write(&file, "token-one\n").expect("the token can be written");
    let server = server.flag("--token-audience", "kiam-server.cluster-a");
    let server = around.logs.start("server", &server).await;
    let agent = around.agent(server.addresses().main).flag("--node-name", "node-a");
    let agent = agent.flag("--server-token-file", file.display());
    let program = around.logs.start("agent", &agent).await;
    let (agent, pod) = (program.addresses().main, around.run_pod("reader", "reader"));
    assert_eq!(ask_for(agent, pod, "reader").await.field("Code"), "WrongNode");
    fs::write(&file, "token-two\n").expect("the token can be written");
    eventually("the new token to be sent", async || {
        ask_for(agent, pod, "reader").await.status.is_success().then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_address_binds_an_agent_to_the_node_whose_pods_have_it_as_host() {
    let around = Emulated::start().await;
    let server = around.logs.start("server", &around.server().flag("--node-binding", "peer-ip")).await;
    let agent = around.agent(server.addresses().main).flag("--node-name", "node-a").flag("--push", false);
    let agent = around.logs.start("agent", &agent).await;
    let (here, elsewhere) = (around.run_pod("here", "reader"), free_ip());
    let other = EmulatedPod::new("apps", "elsewhere", "node-b", &elsewhere.to_string(), "reader");
    around.kube.put_pod(&EmulatedPod { host_ip: "10.9.9.9".into(), ..other });
    assert_eq!(ask_for(agent.addresses().main, here, "reader").await.status, StatusCode::OK);
    let refused = ask_for(agent.addresses().main, elsewhere.into(), "reader").await;
    assert_eq!((refused.status, refused.field("Code")), (StatusCode::FORBIDDEN, "WrongNode".into()));
    assert_eq!(refusals(&server, "wrong_node").await, 1);
}

#[tokio::test]
async fn agents_that_nothing_binds_are_served_counted_and_warned_about() {
    let around = Emulated::start().await;
    let (server, agent) = around.run(around.server()).await;
    let pod = around.run_pod("reader", "reader");
    assert_eq!(ask_for(agent.addresses().main, pod, "reader").await.status, StatusCode::OK);
    assert!(value(&metrics(&server).await, "kiam_node_unbound_calls_total") >= Some(1.0));
    assert!(around.logs.read().contains("--node-binding is off"));
}

async fn refusals(server: &Program, reason: &str) -> i64 {
    let series = format!("kiam_node_binding_refusals_total{{reason=\"{reason}\"}}");
    count(&metrics(server).await, &series).expect("the series")
}
