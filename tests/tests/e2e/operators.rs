//! `kiam-server explain` and `status` against running programs, and who may ask.

use kiam_common::args::TlsArgs;
use kiam_proto::node::fleet_client::FleetClient;
use kiam_proto::node::{ExplainRequest, ListNodesRequest, PodName, explain_request};
use kiam_tests::kube_api::{Pod, TokenUser};
use kiam_tests::real::eventually;
use kiam_tests::real::program::Invocation;
use kiam_tests::stack::Program;
use kiam_tests::sts::{Fault, Refusal, Scope};
use serde_json::Value;
use tokio::net::TcpListener;
use tonic::Request;

use crate::emulated::{Emulated, ask_for};
use crate::grpc::channel;
use crate::world::{BASE_ARN, PROGRAMS, with_identity};

/// A command to this server, as somebody.
fn ask(words: &'static [&'static str], server: &Program, identity: &TlsArgs) -> Invocation {
    with_identity(Invocation::new(PROGRAMS, words), identity).flag("--server-address", server.addresses().main)
}

fn operator(around: &Emulated) -> TlsArgs {
    around.identities.pki.issue("operator", &["kiam-operator"])
}

fn json(program: Invocation) -> (i32, Value) {
    let (code, said) = program.flag("--json", true).run();
    (code, serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}")))
}

/// The verdict of a step.
fn verdict<'a>(explained: &'a Value, check: &str) -> &'a str {
    let steps = explained["steps"].as_array().expect("steps");
    let step = steps.iter().find(|step| step["check"] == check).expect("the step");
    step["verdict"].as_str().expect("a verdict")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_with_credentials_is_explained_by_its_name_and_by_its_address() {
    let around = Emulated::start().await;
    let (server, agent) = around.run(around.server()).await;
    let pod = around.run_pod("reader", "reader");
    assert!(ask_for(agent.addresses().main, pod, "reader").await.status.is_success());
    let operator = operator(&around);
    let by_name = ask(&["server", "explain", "apps/reader"], &server, &operator);
    let by_ip = ask(&["server", "explain"], &server, &operator).flag("--ip", pod);
    eventually("everything to be in effect", async || {
        let (code, explained) = json(by_name.clone());
        (code == 0 && verdict(&explained, "sequence") == "good").then_some(())
    })
    .await;
    for explain in [by_name.clone(), by_ip, by_name.clone().flag("--timeout", "10s").by_environment()] {
        let (code, explained) = json(explain);
        assert_eq!((code, &explained["good"]), (0, &true.into()));
        for check in ["pod", "phase", "address", "annotation", "role", "namespace", "credentials", "node", "sequence"] {
            assert_eq!(verdict(&explained, check), "good", "{check} in {explained}");
        }
        assert_eq!(verdict(&explained, "interception"), "skipped");
    }
    let (code, text) = by_name.run();
    assert!(code == 0 && text.ends_with("the pod gets its credentials\n") && !text.contains('✗'), "{text}");
    let issued = &around.sts.issued()[0];
    for secret in [&issued.secret_access_key, &issued.session_token] {
        assert!(!text.contains(secret.as_str()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_keeps_a_pod_from_its_credentials_is_named_with_what_to_do() {
    let around = Emulated::start().await;
    let refusal = Refusal::access_denied("kiam", &format!("{BASE_ARN}refused"));
    around.sts.set_fault(Scope::Role(format!("{BASE_ARN}refused")), Fault::Refuse(refusal));
    around.kube.put_namespace("closed", &[("iam.amazonaws.com/permitted", ".*:role/other")]);
    let (server, agent) = around.run(around.server()).await;
    let refused = around.run_pod("refused", "refused");
    around.run_pod("none", "");
    around.kube.put_pod(&Pod::new("closed", "forbidden", "node-a", "127.99.0.1", "reader"));
    let finished = Pod::new("apps", "finished", "node-a", "127.99.0.2", "reader");
    around.kube.put_pod(&Pod { phase: "Succeeded".into(), ..finished });
    ask_for(agent.addresses().main, refused, "refused").await;
    let operator = operator(&around);
    let explain = |words| ask(words, &server, &operator);
    for (words, line) in [
        (&["server", "explain", "apps/refused"], "✗ credentials   AccessDenied: "),
        (&["server", "explain", "apps/none"], "✗ annotation    it has no iam.amazonaws.com/role"),
        (&["server", "explain", "apps/finished"], "✗ phase         it is finished"),
        (&["server", "explain", "closed/forbidden"], "✗ namespace     arn:aws:iam::123456789012:role/reader does not"),
        (&["server", "explain", "apps/nobody"], "✗ pod           the server knows of no such live pod"),
    ] {
        let text = eventually("the pod to be known", async || {
            let (code, text) = explain(words).run();
            (code == 1 && text.contains(line)).then_some(text)
        })
        .await;
        let advice = text.lines().skip_while(|it| !it.contains('✗')).nth(1).expect("a line more");
        assert!(advice.contains('→') && text.contains("the pod gets no credentials"), "{text}");
    }
    assert!(around.sts.assumptions_of(&format!("{BASE_ARN}reader")).is_empty(), "explain asks nobody");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_fleet_is_shown_as_a_table_and_as_json() {
    let around = Emulated::start().await;
    let (server, _agent) = around.run(around.server()).await;
    let status = ask(&["server", "status"], &server, &operator(&around));
    let text = eventually("the agent's stream", async || {
        let (code, text) = status.run();
        (code == 0 && text.contains("node-a")).then_some(text)
    })
    .await;
    let columns: Vec<&str> = text.lines().next().expect("a line").split_whitespace().collect();
    assert_eq!(columns[..3], ["NODE", "VERSION", "CONNECTED"], "{text}");
    let (code, shown) = json(status.clone().by_environment());
    assert_eq!((code, &shown["nodes"][0]["name"]), (0, &"node-a".into()));
    assert_eq!(shown["nodes"][0]["version"], kiam_common::VERSION);
    assert_eq!(shown["warnings"], serde_json::json!([]), "{shown}");

    let other = around.agent(server.addresses().main).flag("--node-name", "node-b").flag("--max-stale", "9s");
    let _other = around.logs.start("other", &other).await;
    eventually("the agent that is set up in another way", async || {
        status.run().1.contains("! agents are set up in 2 ways: ").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_does_not_answer_in_time_is_told_and_makes_it_fail() {
    let around = Emulated::start().await;
    let hanging = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = hanging.local_addr().expect("an address");
    let operator = operator(&around);
    for words in [&["server", "status"][..], &["server", "explain", "apps/reader"]] {
        let asked = with_identity(Invocation::new(PROGRAMS, words), &operator);
        let asked = asked.flag("--server-address", address).flag("--gateway-timeout-creation", "1m");
        let (code, said) = asked.flag("--timeout", "200ms").run();
        assert!(code == 1 && said.contains(&format!("{address}")) && said.contains("no answer within 200ms"), "{said}");
    }
}

/// Who an agent's token is of.
pub(crate) fn token_user(node: &str) -> TokenUser {
    TokenUser {
        username: "system:serviceaccount:kube-system:kiam-agent".into(),
        extra: vec![("authentication.kubernetes.io/node-name".into(), node.into())],
        audiences: vec!["kiam-server".into()],
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_and_the_server_itself_see_all_and_an_agent_sees_its_own_node() {
    let around = Emulated::start().await;
    for node in ["node-a", "node-b"] {
        around.kube.set_token(&format!("token-{node}"), Some(token_user(node)));
    }
    let file = around.logs.path().join("token");
    std::fs::write(&file, "token-node-a").expect("the token can be written");
    let server = around.logs.start("server", &around.server().flag("--node-binding", "token")).await;
    let agent = around.agent(server.addresses().main).flag("--server-token-file", file.display());
    let _agent = around.logs.start("agent", &agent).await;
    around.run_pod("reader", "reader");

    for identity in [operator(&around), around.identities.server.clone()] {
        eventually("the agent's stream", async || {
            let (_, shown) = json(ask(&["server", "status"], &server, &identity));
            (shown["nodes"][0]["name"] == "node-a").then_some(())
        })
        .await;
        let (_, explained) = json(ask(&["server", "explain", "apps/reader"], &server, &identity));
        assert_eq!(verdict(&explained, "node"), "good", "{explained}");
    }
    for words in [&["server", "status"][..], &["server", "explain", "apps/reader"]] {
        let (code, said) = ask(words, &server, &around.identities.agent).run();
        assert!(code == 1 && said.contains("service account token"), "without a token: {said}");
    }

    let channel = channel(server.addresses().main, &around.identities.agent).await;
    for (token, sees) in [("token-node-a", true), ("token-node-b", false)] {
        let name = PodName { namespace: "apps".into(), name: "reader".into() };
        let explain = ExplainRequest { pod: Some(explain_request::Pod::Name(name)) };
        let mut fleet = FleetClient::new(channel.clone());
        let nodes =
            fleet.list_nodes(bearing(token, ListNodesRequest::default())).await.expect("an answer").into_inner().nodes;
        assert_eq!(nodes.len(), usize::from(sees), "{token}");
        assert_eq!(fleet.explain(bearing(token, explain)).await.is_ok(), sees, "{token}");
    }
}

fn bearing<M>(token: &str, message: M) -> Request<M> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().expect("a token"));
    request
}
