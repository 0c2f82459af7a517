//! The whole agent, as `app.rs` builds it, between a pod, a server and an instance metadata service on loopback.

use std::net::SocketAddr;
use std::time::Duration;

use kiam_common::args::TlsArgs;
use kiam_common::shutdown::Shutdown;
use kiam_common::testing::{Pki, metrics};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::app::{self, Running};
use crate::args::AgentArgs;
use crate::metadata::fake::{FakeMetadata, Mode};
use crate::sync::fake::{Behaviour, TestServer};

async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

fn args(files: &TlsArgs, server: SocketAddr, metadata: SocketAddr) -> AgentArgs {
    let line = format!(
        "kiam agent --bind=127.0.0.1 --port=0 --prometheus-listen-addr=127.0.0.1:0 --server-address={server} \
         --metadata-endpoint=http://{metadata} --allow-route-regexp=/latest/meta-data/placement/.* \
         --cert={} --key={} --ca={}",
        files.cert.display(),
        files.key.display(),
        files.ca.display()
    );
    kiam_common::args::try_parse_from("agent", line.split_whitespace().map(Into::into)).unwrap()
}

async fn agent(args: AgentArgs) -> (Running, SocketAddr, Shutdown) {
    kiam_common::tls::install_crypto_provider();
    let shutdown = Shutdown::new();
    let running = app::start(args.try_into().unwrap(), shutdown.clone()).await.unwrap();
    let ops = running.ops_addr.unwrap();
    (running, ops, shutdown)
}

async fn ready(ops: SocketAddr) {
    while get(ops, "/ready").await.0 != 200 {
        tokio::task::yield_now().await;
    }
}

async fn unused() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

#[tokio::test]
async fn a_pod_is_answered_through_the_whole_agent_and_everything_is_counted() {
    let pki = Pki::new();
    let server = TestServer::start("reader", &pki.issue("server", &["127.0.0.1"]), Behaviour::Answer).await;
    let metadata = FakeMetadata::start(Mode::V2).await;
    let (running, ops, shutdown) = agent(args(&pki.issue("agent", &["agent"]), server.address, metadata.address)).await;
    ready(ops).await;

    let pods = running.metadata_addr;
    let list = "/latest/meta-data/iam/security-credentials/";
    assert_eq!(get(pods, list).await, (200, "reader".into()));
    let (status, document) = get(pods, &format!("{list}reader")).await;
    assert!(status == 200 && document.contains(r#""AccessKeyId":"127.0.0.1""#), "{document}");
    assert_eq!(get(pods, "/latest/meta-data/placement/region").await.0, 200);
    assert_eq!(get(pods, "/latest/meta-data/instance-type").await.0, 404);
    assert_eq!(get(pods, "/health?deep=1").await.0, 200);

    let text = get(ops, "/metrics").await.1;
    for (series, value) in [
        (r#"kiam_metadata_success_total{handler="roleName"}"#, 1.0),
        (r#"kiam_metadata_success_total{handler="credentials"}"#, 1.0),
        (r#"kiam_metadata_responses_total{code="200",handler="health"}"#, 1.0),
        (r#"kiam_metadata_handler_latency_seconds_count{handler="proxy"}"#, 2.0),
        ("kiam_metadata_proxy_requests_blocked_total", 1.0),
        (r#"kiam_metadata_server_wait_seconds_count{handler="credentials"}"#, 1.0),
        (r#"kiam_requests_rejected_total{reason="not_served"}"#, 1.0),
        ("kiam_requests_in_flight", 0.0),
        ("kiam_server_reachable", 1.0),
        ("kiam_metric_errors_total", 0.0),
        ("grpc_client_tls_certificate_update_error", 0.0),
        ("grpc_client_tls_certificate_verify_error", 0.0),
    ] {
        assert_eq!(metrics::value(&text, series), Some(value), "{series} in\n{text}");
    }
    for part in
        ["grpc_client_handled_total{", r#"grpc_method="GetPodCredentials""#, "grpc_client_tls_certificate_expiry"]
    {
        assert!(text.contains(part), "{part} in\n{text}");
    }

    shutdown.begin();
    assert!(running.finished().await);
    assert!(TcpStream::connect(pods).await.is_err());
}

#[tokio::test]
async fn without_a_server_the_agent_runs_and_says_what_it_waits_for() {
    let pki = Pki::new();
    let metadata = FakeMetadata::start(Mode::V2).await;
    let (running, ops, shutdown) = agent(args(&pki.issue("agent", &["agent"]), unused().await, metadata.address)).await;
    assert_eq!(get(ops, "/live").await.0, 200);
    assert_eq!(get(ops, "/ready").await, (503, "server\n".into()));
    assert_eq!(metrics::value(&get(ops, "/metrics").await.1, "kiam_server_reachable"), Some(0.0));
    assert_eq!(get(running.metadata_addr, "/ping").await, (200, "pong".into()));
    assert_eq!(get(running.metadata_addr, "/health").await.0, 200);
    shutdown.begin();
    assert!(running.finished().await);
}

#[tokio::test]
async fn what_cannot_be_started_is_told_with_the_flag_at_fault() {
    let pki = Pki::new();
    let files = pki.issue("agent", &["agent"]);
    let here = unused().await;
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();

    let mut no_certificate = args(&files, here, here);
    no_certificate.tls.cert = "/nonexistent/tls.crt".into();
    let mut port_taken = args(&files, here, here);
    port_taken.port = taken.local_addr().unwrap().port();
    let mut metrics_taken = args(&files, here, here);
    metrics_taken.ops.prometheus_listen_addr = taken.local_addr().unwrap().to_string();
    let mut profiles_taken = args(&files, here, here);
    profiles_taken.ops.pprof_listen_addr = taken.local_addr().unwrap().to_string();
    for (args, words) in [
        (profiles_taken, ["--pprof-listen-addr", "127.0.0.1:"]),
        (no_certificate, ["--cert", "/nonexistent/tls.crt"]),
        (port_taken, ["--port", "127.0.0.1:"]),
        (metrics_taken, ["--prometheus-listen-addr", "127.0.0.1:"]),
    ] {
        let error = app::start(args.try_into().unwrap(), Shutdown::new()).await.unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)) && !error.contains('\n'), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_agent_ends_in_time_whatever_its_pods_do() {
    let pki = Pki::new();
    let server = TestServer::start("reader", &pki.issue("server", &["127.0.0.1"]), Behaviour::Hang).await;
    let metadata = FakeMetadata::start(Mode::Hang).await;
    let mut args = args(&pki.issue("agent", &["agent"]), server.address, metadata.address);
    // It has a thread of its own, which knows nothing of virtual time.
    args.ops.prometheus_listen_addr = String::new();
    let shutdown = Shutdown::new();
    let running = app::start(args.try_into().unwrap(), shutdown.clone()).await.unwrap();
    let pods = running.metadata_addr;
    let waiting = tokio::spawn(async move { get(pods, "/latest/meta-data/iam/security-credentials/").await });
    let _idle = TcpStream::connect(pods).await.unwrap();
    while server.calls() == 0 {
        tokio::task::yield_now().await;
    }
    let begun = tokio::time::Instant::now();
    shutdown.begin();
    assert!(running.finished().await);
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
    assert_eq!(waiting.await.unwrap().0, 503);
}
