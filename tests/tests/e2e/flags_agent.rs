//! What the agent's flags do, and those of the health check, where it shows from outside.

use std::fs::File;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::{Request, StatusCode};
use kiam_common::testing::metrics::value;
use kiam_tests::imds::INSTANCE_ID;
use kiam_tests::real::http::{Answer, LOCALHOST, get, send, try_send};
use kiam_tests::real::program::Invocation;
use kiam_tests::real::{eventually, free_port};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::process::Child;
use tokio::time::Instant;

use crate::emulated::{Emulated, ask_for};
use crate::world::{CREDENTIALS, PROGRAMS, metrics, with_identity};

/// An agent on ports of the test's choice, so that its log need not say where it is.
struct Silent {
    metadata: SocketAddr,
    ops: SocketAddr,
    log: PathBuf,
    _child: Child,
}

impl Silent {
    async fn start(agent: Invocation, name: &str, dir: &Path) -> Self {
        let (metadata, ops) = ((LOCALHOST, free_port()).into(), (LOCALHOST, free_port()).into());
        let agent = agent.flag("--port", SocketAddr::port(&metadata));
        let log = dir.join(name);
        let child = agent.spawn(File::create(&log).expect("the log can be written"));
        eventually("the agent to answer", async || answer_of(metadata, "/ping").await).await;
        Self { metadata, ops, log, _child: child }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).expect("the log is there")
    }
}

async fn answer_of(addr: SocketAddr, path: &str) -> Option<Answer> {
    try_send(LOCALHOST, addr, Request::get(path).body(String::new()).ok()?).await.ok()
}

#[tokio::test]
async fn logs_are_text_or_json_and_as_talkative_as_they_are_told() {
    let around = Emulated::start().await;
    let agent = around.agent("127.0.0.1:1").flag("--prometheus-listen-addr", "");
    for (json, level, wanted) in
        [(false, "info", "INFO"), (true, "info", r#""level":"INFO""#), (false, "debug", "INFO"), (true, "error", "")]
    {
        let agent = agent.clone().flag("--json-log", json).flag("--level", level);
        let agent = Silent::start(agent, &format!("{json}-{level}.log"), around.logs.path()).await;
        get(LOCALHOST, agent.metadata, "/nowhere").await;
        let log = agent.log();
        assert!(log.contains(wanted), "{json} {level}: {log}");
        assert_eq!(log.is_empty(), level == "error", "{log}");
        assert!(log.lines().all(|line| line.starts_with('{') == json), "{log}");
    }
}

#[tokio::test]
async fn an_empty_metrics_address_turns_the_listener_off() {
    let around = Emulated::start().await;
    let agent = around.agent("127.0.0.1:1");
    let on = around.logs.start("agent", &agent).await;
    assert_eq!(get(LOCALHOST, on.addresses().ops, "/live").await.status, StatusCode::OK);
    let off = Silent::start(agent.flag("--prometheus-listen-addr", ""), "off.log", around.logs.path()).await;
    assert!(answer_of(off.ops, "/live").await.is_none());
    assert!(!off.log().contains("ops_addr"), "{}", off.log());
}

#[tokio::test]
async fn profiles_are_served_where_they_are_asked_for() {
    let around = Emulated::start().await;
    let port = free_port();
    let agent = around.agent("127.0.0.1:1").flag("--pprof-listen-addr", format!("127.0.0.1:{port}"));
    let _agent = around.logs.start("agent", &agent).await;
    let profile = get(LOCALHOST, (LOCALHOST, port).into(), "/debug/pprof/profile?seconds=1").await;
    assert_eq!(profile.status, StatusCode::OK);
    assert!(!profile.body.is_empty());
}

#[tokio::test]
async fn sampled_gauges_are_read_no_more_often_than_the_flag_says() {
    let around = Emulated::start().await;
    for (interval, changes) in [("1ms", true), ("1h", false)] {
        let agent = around.agent("127.0.0.1:1").flag("--prometheus-sync-interval", interval);
        let agent = around.logs.start("agent", &agent).await;
        let descriptors = async || value(&metrics(&agent).await, "process_open_fds").expect("the series");
        let before = descriptors().await;
        let connect = |_| kiam_tests::real::http::connect(LOCALHOST, agent.addresses().main);
        let connections = futures_util::future::join_all((0..20).map(connect)).await;
        // Answered, so accepted: whoever came before is accepted, too.
        get(LOCALHOST, agent.addresses().main, "/ping").await;
        // The agent has a few that come and go.
        assert_eq!(descriptors().await > before + 10.0, changes, "{interval}");
        drop(connections);
    }
}

#[tokio::test]
async fn the_ip_query_chooses_the_pod_only_where_it_is_allowed() {
    let around = Emulated::start().await;
    let server = around.logs.start("server", &around.server()).await;
    let pod = around.run_pod("reader", "reader");
    let path = format!("{CREDENTIALS}?ip={pod}");
    let agent = around.agent(server.addresses().main);
    let allowed = around.logs.start("allowed", &agent.clone().flag("--allow-ip-query", true)).await;
    assert_eq!(get(LOCALHOST, allowed.addresses().main, &path).await.body, "reader");
    assert!(around.logs.read().contains("--allow-ip-query"), "development only: it is warned about");
    let counted = value(&metrics(&allowed).await, "kiam_metadata_ip_query_total");
    assert_eq!(counted, Some(1.0));
    let ordinary = around.logs.start("ordinary", &agent).await;
    assert_eq!(get(LOCALHOST, ordinary.addresses().main, &path).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn routes_are_allowed_by_kiams_older_flag_and_its_variable_as_well() {
    let around = Emulated::start().await;
    let agent = around.agent("127.0.0.1:1").flag("--whitelist-route-regexp", "/latest/meta-data/instance-id");
    for (name, agent) in [("by-flag", agent.clone()), ("by-variable", agent.by_environment())] {
        let agent = around.logs.start(name, &agent).await;
        let answer = get(LOCALHOST, agent.addresses().main, "/latest/meta-data/instance-id").await;
        assert_eq!(answer.body, INSTANCE_ID, "{name}");
    }
}

#[tokio::test]
async fn sets_of_routes_and_user_data_are_opened_by_their_flags_and_by_no_other() {
    let around = Emulated::start().await;
    let everything = around.agent("127.0.0.1:1").flag("--allow-route-regexp", ".*");
    let user_data = everything.clone().flag("--allow-user-data", true);
    let sets = around.agent("127.0.0.1:1").flag("--allow-routes", "instance,placement");
    for (name, agent, opened) in [
        ("everything", everything, [true, true, true, false]),
        ("user-data", user_data, [true, true, true, true]),
        ("sets", sets, [true, true, false, false]),
    ] {
        let agent = around.logs.start(name, &agent).await;
        let paths = ["meta-data/instance-id", "meta-data/placement/region", "meta-data/", "user-data"];
        for (path, opened) in paths.into_iter().zip(opened) {
            let answer = get(LOCALHOST, agent.addresses().main, &format!("/latest/{path}")).await;
            assert_eq!(answer.status == StatusCode::OK, opened, "{name} {path}: {}", answer.body);
        }
    }
}

#[tokio::test]
async fn where_session_tokens_are_required_a_pod_without_one_is_refused() {
    let around = Emulated::start().await;
    let server = around.logs.start("server", &around.server()).await;
    let agent = around.agent(server.addresses().main).flag("--imds-tokens", "required");
    let program = around.logs.start("agent", &agent).await;
    let (agent, pod) = (program.addresses().main, around.run_pod("reader", "reader"));
    assert_eq!(get(pod, agent, CREDENTIALS).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(get(pod, agent, "/ping").await.status, StatusCode::OK);
    let life = Request::put("/latest/api/token").header("x-aws-ec2-metadata-token-ttl-seconds", "60");
    let token = send(pod, agent, life.body(String::new()).expect("sound")).await.body;
    let asked = Request::get(CREDENTIALS).header("x-aws-ec2-metadata-token", token);
    assert_eq!(send(pod, agent, asked.body(String::new()).expect("sound")).await.body, "reader");
}

/// What a pod is told on a connection, while it has so many that have not asked yet.
async fn told_beside(held: usize, agent: SocketAddr) -> String {
    let open = async || kiam_tests::real::http::connect(LOCALHOST, agent).await.expect("a connection");
    let mut silent = Vec::new();
    for _ in 0..held {
        silent.push(open().await);
    }
    let mut stream = open().await;
    // One that is refused may be closed before it has asked.
    let _written = stream.write_all(b"GET /ping HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let mut answer = [0; 512];
    let length = stream.read(&mut answer).await.expect("an answer");
    String::from_utf8_lossy(&answer[..length]).into_owned()
}

#[tokio::test]
async fn connections_and_requests_are_limited_as_the_flags_say() {
    let around = Emulated::start().await;
    let agent = around.agent("127.0.0.1:1");
    for (flag, status) in [("--max-connections-per-pod", "429"), ("--max-connections", "503")] {
        let agent = around.logs.start(flag, &agent.clone().flag(flag, 3)).await;
        let refusal = told_beside(3, agent.addresses().main).await;
        assert!(refusal.starts_with(&format!("HTTP/1.1 {status} ")), "{flag}: {refusal}");
        assert!(refusal.contains("retry-after: 1"), "{refusal}");
        eventually("the connections to be gone, and the third to be served", async || {
            told_beside(2, agent.addresses().main).await.starts_with("HTTP/1.1 200 ").then_some(())
        })
        .await;
    }

    // No server is there, so every request for a role waits.
    let agent = around.logs.start("requests", &agent.flag("--max-requests-per-pod", 2)).await;
    let waits = || ask_for(agent.addresses().main, LOCALHOST, "reader");
    let (one, other, third) = tokio::join!(waits(), waits(), waits());
    let mut statuses = [one, other, third].map(|answer| answer.status.as_u16());
    statuses.sort_unstable();
    assert_eq!(statuses, [429, 503, 503]);
}

#[tokio::test]
async fn the_metadata_endpoint_may_be_given_by_the_sdks_own_variable() {
    let around = Emulated::start().await;
    let agent = around.agent("127.0.0.1:1").without("--metadata-endpoint");
    let agent = agent.env("AWS_EC2_METADATA_SERVICE_ENDPOINT", around.imds.url());
    let agent = around.logs.start("agent", &agent).await;
    assert_eq!(get(LOCALHOST, agent.addresses().main, "/health").await.body, INSTANCE_ID);
}

#[tokio::test]
async fn a_servers_name_is_looked_up_and_kiams_refresh_flag_is_warned_about() {
    let around = Emulated::start().await;
    let server = around.logs.start("server", &around.server()).await;
    let agent = around.agent(format!("localhost:{}", server.addresses().main.port()));
    let agent = around.logs.start("agent", &agent.flag("--server-address-refresh", "1m")).await;
    let pod = around.run_pod("reader", "reader");
    assert_eq!(ask_for(agent.addresses().main, pod, "reader").await.status, StatusCode::OK);
    assert!(around.logs.read().contains("--server-address-refresh"));
}

#[tokio::test]
async fn a_server_that_does_not_finish_its_handshake_is_given_up_after_the_time_to_connect() {
    let around = Emulated::start().await;
    let hanging = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = hanging.local_addr().expect("an address");
    let agent = around.agent(address).flag("--gateway-timeout-creation", "100ms");
    let agent = around.logs.start("agent", &agent).await;
    let asked = tokio::spawn(async move { ask_for(agent.addresses().main, IpAddr::from([127, 0, 0, 9]), "r").await });
    // Within one request's five seconds it is tried several times: the first attempt was given up early.
    for _ in 0..3 {
        hanging.accept().await.expect("a connection");
    }
    assert_eq!(asked.await.expect("an answer").status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn the_health_check_says_ok_or_why_not_in_time() {
    let around = Emulated::start().await;
    let server = around.logs.start("server", &around.server()).await;
    for words in [&["agent", "health"], &["server", "health"]] {
        let health = with_identity(Invocation::new(PROGRAMS, words), &around.identities.agent);
        let well = health.clone().flag("--server-address", server.addresses().main).flag("--timeout", "10s");
        let answer =
            eventually("the server to be well", async || Some(well.run()).filter(|(code, _)| *code == 0)).await;
        assert_eq!(answer, (0, "ok\n".to_owned()));

        let hanging = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = hanging.local_addr().expect("an address");
        let started = Instant::now();
        let (code, said) = health.flag("--server-address", address).flag("--timeout", "300ms").run();
        assert!((code, said.lines().count()) == (1, 1) && said.contains(&address.to_string()), "{code}: {said}");
        assert!((Duration::from_millis(300)..Duration::from_secs(5)).contains(&started.elapsed()));
    }
}
