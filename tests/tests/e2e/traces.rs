//! Spans of both programs at a collector; programs whose collector is away; and environments that cannot be understood.

use std::net::IpAddr;
use std::time::Duration;

use http::StatusCode;
use kiam_common::testing::metrics::value;
use kiam_tests::collector::{Collector, Span};
use kiam_tests::real::eventually;
use kiam_tests::real::program::Invocation;
use kiam_tests::stack::Program;
use kiam_tests::sts::{Fault, OWN_SECRET_KEY, Scope};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::emulated::{Emulated, ask_for};
use crate::world::{BASE_ARN, metrics, wait_until_ready};

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const REQUEST: &str = "GET /{version}/meta-data/iam/security-credentials/{role}";
const CALL: &str = "kiam.KiamService/GetPodCredentials";

/// Exports to this endpoint, and does not wait long for more spans to come.
fn exporting(program: Invocation, endpoint: impl ToString) -> Invocation {
    program.env(ENDPOINT, endpoint).env("OTEL_BSP_SCHEDULE_DELAY", 50)
}

/// A server that fetches nothing ahead: its fetcher is busy with a role that STS never gives, and its line is full. And
/// an agent that asks for each request.
async fn asking(emulated: &Emulated, change: impl Fn(Invocation) -> Invocation) -> (Program, Program) {
    for stuck in ["stuck-1", "stuck-2"] {
        emulated.sts.set_fault(Scope::Role(format!("{BASE_ARN}{stuck}")), Fault::Hang);
        emulated.run_pod(stuck, stuck);
    }
    let server = change(emulated.server()).flag("--fetchers", 1).flag("--prefetch-buffer-size", 1);
    let server = emulated.logs.start("server", &server).await;
    let agent = change(emulated.agent(server.addresses().main)).flag("--push", false);
    let agent = emulated.logs.start("agent", &agent).await;
    for program in [&server, &agent] {
        wait_until_ready(program).await;
    }
    (server, agent)
}

/// Runs a pod whose credentials are not fetched ahead.
async fn run_pod(emulated: &Emulated, server: &Program, name: &str, role: &str) -> IpAddr {
    let dropped = async || value(&metrics(server).await, "kiam_k8s_dropped_pods_total");
    let before = dropped().await;
    let ip = emulated.run_pod(name, role);
    eventually("the server to see the pod", async || (dropped().await > before).then_some(())).await;
    ip
}

/// Waits for the one span of this name.
async fn only(collector: &Collector, name: &str) -> Span {
    let named = eventually(name, async || {
        let named: Vec<_> = collector.spans().into_iter().filter(|span| span.name == name).collect();
        (!named.is_empty()).then_some(named)
    })
    .await;
    assert_eq!(named.len(), 1, "{named:?}");
    named.into_iter().next().expect("one")
}

fn lines(program: &Program) -> Vec<Value> {
    let log = std::fs::read_to_string(program.log()).expect("it logs");
    log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

#[tokio::test]
async fn a_pods_first_request_is_one_trace_from_the_agent_to_sts_and_in_the_logs() {
    let (emulated, collector) = (Emulated::start().await, Collector::start().await.expect("a free port"));
    let endpoint = format!("http://{}", collector.address());
    let (server, agent) = asking(&emulated, |program| exporting(program, &endpoint)).await;
    let pod = run_pod(&emulated, &server, "reader-0", "reader").await;
    assert_eq!(ask_for(agent.addresses().main, pod, "reader").await.status, StatusCode::OK);

    let trace = eventually("the whole trace", async || {
        let spans = collector.spans();
        let request = spans.iter().find(|span| span.name == REQUEST)?;
        let trace: Vec<_> = spans.iter().filter(|span| span.trace_id == request.trace_id).cloned().collect();
        (trace.len() == 5).then_some(trace)
    })
    .await;
    let mut parent = String::new();
    for (service, name) in [
        ("kiam-agent", REQUEST),
        ("kiam-agent", CALL),
        ("kiam-server", CALL),
        ("kiam-server", "fetch"),
        ("kiam-server", "STS/AssumeRole"),
    ] {
        let is_next = |span: &&Span| (&*span.service, &*span.name, &span.parent_id) == (service, name, &parent);
        let span = trace.iter().find(is_next).unwrap_or_else(|| panic!("{name} below {parent:?} in {trace:#?}"));
        assert_eq!(span.attributes["kiam.outcome"], "ok");
        parent.clone_from(&span.span_id);
    }
    let of_server = trace.iter().find(|span| span.attributes.contains_key("k8s.pod.name")).expect("the server's");
    assert_eq!((&*of_server.service, &*of_server.attributes["k8s.pod.name"]), ("kiam-server", "reader-0"));

    for (program, message) in [(&agent, "answered"), (&server, "credentials issued")] {
        eventually("a line with the ids", async || {
            let lines = lines(program);
            let line = lines.iter().find(|line| line["message"] == message && line["trace_id"] == trace[0].trace_id)?;
            let has_span = trace.iter().any(|span| line["span_id"] == span.span_id);
            has_span.then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_pod_that_the_agent_was_told_of_is_named_and_no_message_of_the_stream_is_a_span() {
    let (emulated, collector) = (Emulated::start().await, Collector::start().await.expect("a free port"));
    let pod = emulated.run_pod("reader-0", "reader");
    let endpoint = format!("http://{}", collector.address());
    let server = exporting(emulated.server(), &endpoint).env("OTEL_SERVICE_NAME", "credentials");
    let server = emulated.logs.start("server", &server).await;
    let attributes = "k8s.node.name=node-a,service.name=overridden";
    let agent =
        exporting(emulated.agent(server.addresses().main), &endpoint).env("OTEL_RESOURCE_ATTRIBUTES", attributes);
    let mut agent = emulated.logs.start("agent", &agent).await;
    eventually("the agent to be supplied", async || {
        (value(&metrics(&agent).await, "kiam_ledger_sessions") == Some(1.0)).then_some(())
    })
    .await;
    assert_eq!(ask_for(agent.addresses().main, pod, "reader").await.status, StatusCode::OK);
    let request = only(&collector, REQUEST).await;
    assert_eq!(request.attributes["k8s.namespace.name"], "apps");
    assert_eq!((&*request.attributes["k8s.pod.name"], &*request.attributes["kiam.role"]), ("reader-0", "reader"));
    agent.stop().await.expect("it stops");
    eventually("the server's spans", async || (collector.resources().len() == 2).then_some(())).await;

    let spans = collector.spans();
    let expected = [REQUEST, "fetch", "STS/AssumeRole", "kiam.KiamService/GetHealth"];
    assert!(spans.iter().all(|span| expected.contains(&&*span.name)), "{spans:#?}");
    let resources = collector.resources();
    assert_eq!(resources.keys().collect::<Vec<_>>(), ["credentials", "overridden"]);
    assert_eq!(resources["overridden"]["k8s.node.name"], "node-a");
    for resource in resources.values() {
        assert_eq!(resource["service.version"], kiam_common::VERSION);
    }
}

#[tokio::test]
async fn no_secret_is_exported() {
    let (emulated, collector) = (Emulated::start().await, Collector::start().await.expect("a free port"));
    let denied = kiam_tests::sts::Refusal::access_denied("kiam-server", &format!("{BASE_ARN}denied"));
    emulated.sts.set_fault(Scope::Role(format!("{BASE_ARN}denied")), Fault::Refuse(denied));
    let endpoint = format!("http://{}", collector.address());
    let (mut server, mut agent) = asking(&emulated, |program| exporting(program, &endpoint)).await;
    let (to, mut documents) = (agent.addresses().main, String::new());
    for role in ["reader", "denied"] {
        let pod = run_pod(&emulated, &server, role, role).await;
        documents += &ask_for(to, pod, role).await.body;
        documents += &ask_for(to, pod, "other").await.body;
    }
    agent.stop().await.expect("it stops");
    server.stop().await.expect("it stops");

    let (exported, issued) = (collector.text(), emulated.sts.issued());
    assert!(exported.contains("Forbidden") && exported.contains("refused"), "{exported}");
    assert!(!issued.is_empty());
    for given in &issued {
        assert!(documents.contains(&given.secret_access_key) && documents.contains(&given.session_token));
        for secret in [&given.secret_access_key, &given.session_token] {
            assert!(!exported.contains(secret), "{secret} is exported");
        }
    }
    assert!(!exported.contains(OWN_SECRET_KEY));
}

#[tokio::test]
async fn a_collector_that_is_away_or_silent_is_in_nobodys_way() {
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let away = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let (silent_at, away_at) = (silent.local_addr().expect("bound"), away.local_addr().expect("bound"));
    drop(away);
    for endpoint in [away_at, silent_at] {
        let emulated = Emulated::start().await;
        let pod = emulated.run_pod("reader-0", "reader");
        let exporting = |program| exporting(program, format!("http://{endpoint}"));
        let server = emulated.logs.start("server", &exporting(emulated.server())).await;
        let agent = exporting(emulated.agent(server.addresses().main)).flag("--push", false);
        let mut programs = [emulated.logs.start("agent", &agent).await, server];
        let to = programs[0].addresses().main;
        for _ in 0..20 {
            assert_eq!(ask_for(to, pod, "reader").await.status, StatusCode::OK);
        }
        if endpoint == away_at {
            eventually("the loss to be told", async || lines(&programs[0]).iter().any(is_loss).then_some(())).await;
            assert_eq!(ask_for(to, pod, "reader").await.status, StatusCode::OK);
        }
        for program in &mut programs {
            let stopping = Instant::now();
            assert!(program.stop().await.expect("it stops").success());
            assert!(stopping.elapsed() < Duration::from_secs(8), "{:?}", stopping.elapsed());
            assert!(lines(program).iter().filter(|line| is_loss(line)).count() <= 1);
        }
    }
}

/// Whether a line tells that spans are lost.
fn is_loss(line: &Value) -> bool {
    line["message"].as_str().is_some_and(|message| message.starts_with("spans are lost"))
}

#[tokio::test]
async fn a_collector_is_known_by_its_certificate_and_shown_what_the_environment_says() {
    let emulated = Emulated::start().await;
    let files = emulated.identities.pki.issue("collector", &["localhost"]);
    let collector = Collector::start_with_tls(&files).await.expect("a free port");
    let pod = emulated.run_pod("reader-0", "reader");
    let endpoint = format!("https://localhost:{}", collector.address().port());
    let server = exporting(emulated.server(), endpoint)
        .env("OTEL_EXPORTER_OTLP_CERTIFICATE", files.ca.display())
        .env("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20hidden");
    let (_server, agent) = emulated.run(server).await;
    assert_eq!(ask_for(agent.addresses().main, pod, "reader").await.status, StatusCode::OK);
    only(&collector, "STS/AssumeRole").await;
    assert_eq!(collector.authorizations().first().map(String::as_str), Some("Bearer hidden"));
    assert!(!emulated.logs.read().contains("hidden"));
}

#[tokio::test]
async fn nothing_is_exported_of_traces_that_are_not_sampled_and_with_the_sdk_disabled_nothing_is_made() {
    for (variable, setting, has_ids) in
        [("OTEL_TRACES_SAMPLER", "always_off", true), ("OTEL_SDK_DISABLED", "true", false)]
    {
        let (emulated, collector) = (Emulated::start().await, Collector::start().await.expect("a free port"));
        let pod = emulated.run_pod("reader-0", "reader");
        let change = |program| exporting(program, format!("http://{}", collector.address())).env(variable, setting);
        let mut server = emulated.logs.start("server", &change(emulated.server())).await;
        let mut agent = emulated.logs.start("agent", &change(emulated.agent(server.addresses().main))).await;
        assert_eq!(ask_for(agent.addresses().main, pod, "reader").await.status, StatusCode::OK);
        agent.stop().await.expect("it stops");
        server.stop().await.expect("it stops");
        assert_eq!(collector.spans(), []);
        let lines = lines(&agent);
        let line = lines.iter().find(|line| line["message"] == "answered").expect("a line of the request");
        assert_eq!(line.get("trace_id").is_some(), has_ids, "{variable}: {line}");
    }
}

#[tokio::test]
async fn a_program_says_which_variable_it_does_not_understand_and_does_not_start() {
    let emulated = Emulated::start().await;
    let nowhere = emulated.logs.path().join("nowhere.pem");
    let nowhere = nowhere.to_str().expect("UTF-8");
    let tls = (ENDPOINT, "https://localhost:4317");
    for (given, line) in [
        (vec![(ENDPOINT, "collector:4317")], format!("error: {ENDPOINT}: expected http://host:port")),
        (vec![tls], "error: OTEL_EXPORTER_OTLP_CERTIFICATE: expected a file".to_owned()),
        (
            vec![tls, ("OTEL_EXPORTER_OTLP_CERTIFICATE", nowhere)],
            format!("error: OTEL_EXPORTER_OTLP_CERTIFICATE {nowhere}: no such file; expected PEM certificates"),
        ),
        (
            vec![(ENDPOINT, "http://localhost:4317"), ("OTEL_TRACES_SAMPLER", "xray")],
            "error: OTEL_TRACES_SAMPLER: expected always_on".to_owned(),
        ),
    ] {
        for program in [emulated.server(), emulated.agent("127.0.0.1:1")] {
            let program = given.iter().fold(program, |program, (name, value)| program.env(name, value));
            let (code, said) = program.run();
            assert!(code == 2 && said.starts_with(&line) && said.lines().count() == 1, "{code}: {said}");
        }
    }
}
