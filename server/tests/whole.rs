//! The whole server on loopback: flags in, mutual TLS and a Kubernetes API over HTTP on the outside.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests; clippy knows the tests themselves only")]

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Empty, Full, StreamBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use kiam_common::args::{Invocation, KeepaliveArgs, TlsArgs, try_parse_from};
use kiam_common::channel::connect_lazily;
use kiam_common::shutdown::Shutdown;
use kiam_common::testing::Pki;
use kiam_common::tls::{Identity, install_crypto_provider};
use kiam_proto::kiam::GetPodRoleRequest;
use kiam_proto::kiam::kiam_service_client::KiamServiceClient;
use kiam_proto::node::bind::Decision;
use kiam_proto::node::fleet_client::FleetClient;
use kiam_proto::node::node_message::Message as Said;
use kiam_proto::node::node_sync_client::NodeSyncClient;
use kiam_proto::node::server_message::Message;
use kiam_proto::node::{Hello, ListNodesRequest, NodeMessage};
use kiam_server::app::{Running, StartError, start};
use kiam_server::args::ServerArgs;
use kiam_server::command::ServerCommand;
use kiam_server::config::Config;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic_health::ServingStatus;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

/// A configuration by flags, on free ports.
fn config(tls: &TlsArgs, kubeconfig: &Path, more: &[&str]) -> Config {
    let flags = [
        format!("--cert={}", tls.cert.display()),
        format!("--key={}", tls.key.display()),
        format!("--ca={}", tls.ca.display()),
        format!("--kubeconfig={}", kubeconfig.display()),
        "--bind=127.0.0.1:0".into(),
        "--prometheus-listen-addr=127.0.0.1:0".into(),
        "--role-base-arn=arn:aws:iam::123456789012:role/".into(),
        "--region=eu-west-1".into(),
    ];
    let argv = ["kiam-server".to_owned()].into_iter().chain(flags).chain(more.iter().map(ToString::to_string));
    match try_parse_from::<Invocation<ServerArgs, ServerCommand>>("server", argv.map(Into::into)).unwrap() {
        Invocation::Run(parsed) => Config::try_from(parsed).unwrap(),
        other => panic!("not asked for: {other:?}"),
    }
}

/// A Kubernetes API that lists these pods and the namespace `team`, in which nothing ever changes.
async fn kubernetes(directory: &Path, pods: Vec<Value>) -> std::path::PathBuf {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let pods = pods.clone();
            let serve = service_fn(move |request: Request<Incoming>| {
                std::future::ready(Ok::<_, Infallible>(answer(&request, &pods)))
            });
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), serve));
        }
    });
    let file = directory.join("kubeconfig");
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "clusters": [{ "name": "test", "cluster": { "server": format!("http://{address}") } }],
        "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "test" } }],
        "users": [{ "name": "test", "user": {} }],
    });
    std::fs::write(&file, kubeconfig.to_string()).unwrap();
    file
}

type Answer = Response<BoxBody<Bytes, Infallible>>;

fn answer(request: &Request<Incoming>, pods: &[Value]) -> Answer {
    let watches = request.uri().query().unwrap_or_default().contains("watch=true");
    let items = match request.uri().path() {
        _ if watches => return Response::new(StreamBody::new(tokio_stream::pending()).boxed()),
        "/api/v1/pods" => pods.to_vec(),
        "/api/v1/namespaces" => vec![json!({ "metadata": { "name": "team", "resourceVersion": "1" } })],
        _ => return Response::builder().status(404).body(Empty::new().boxed()).unwrap(),
    };
    let list = json!({ "kind": "List", "apiVersion": "v1", "metadata": { "resourceVersion": "9" }, "items": items });
    Response::new(Full::new(Bytes::from(list.to_string())).boxed())
}

fn pod(name: &str, ip: &Value) -> Value {
    json!({
        "metadata": { "name": name, "namespace": "team", "uid": format!("uid-of-{name}"), "resourceVersion": "7",
                      "annotations": { "iam.amazonaws.com/role": "reader" } },
        "status": { "phase": "Running", "podIP": ip },
    })
}

async fn channel(running: &Running, tls: &TlsArgs) -> Channel {
    let keepalive = KeepaliveArgs {
        grpc_keepalive_time_duration: Duration::from_secs(10),
        grpc_keepalive_timeout_duration: Duration::from_secs(2),
        grpc_keepalive_permit_without_stream: false,
    };
    let identity = Identity::load(tls).await.unwrap();
    connect_lazily(running.grpc_addr, "localhost", &identity, &keepalive, Duration::from_secs(5))
}

/// Returns when the server says that it serves.
async fn serving(channel: Channel) {
    let request = HealthCheckRequest { service: "kiam.KiamService".into() };
    let mut statuses = HealthClient::new(channel).watch(request).await.unwrap().into_inner();
    while statuses.message().await.unwrap().unwrap().status != ServingStatus::Serving as i32 {}
}

async fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn a_server_answers_over_mutual_tls_from_what_the_api_lists_and_ends_cleanly() {
    install_crypto_provider();
    let pki = Pki::new();
    let (server, agent) = (pki.issue("server", &["localhost"]), pki.issue("agent", &["agent"]));
    let pods = vec![pod("odd", &json!(["not", "an", "ip"])), pod("a", &json!("10.0.0.1"))];
    let kubeconfig = kubernetes(pki.path(), pods).await;
    let shutdown = Shutdown::new();
    let running = start(config(&server, &kubeconfig, &[]), shutdown.clone()).await.unwrap();
    let channel = channel(&running, &agent).await;
    serving(channel.clone()).await;

    let request = GetPodRoleRequest { ip: "10.0.0.1".into() };
    let role = KiamServiceClient::new(channel.clone()).get_pod_role(request).await.unwrap();
    assert_eq!(role.into_inner().name, "reader");
    let ops = running.ops_addr.unwrap();
    assert!(get(ops, "/ready").await.starts_with("HTTP/1.1 200"));
    let metrics = get(ops, "/metrics").await;
    for series in [
        "kiam_k8s_pods 1",
        "kiam_k8s_namespaces 1",
        "kiam_k8s_undecodable_objects_total{resource=\"pods\"} 1",
        "kiam_k8s_dropped_pods_total 0",
        "kiam_sts_cacheSize 0",
        "kiam_sts_cache_hit_total 0",
        "kiam_sts_cache_miss_total 0",
        "kiam_sts_issuing_errors_total 0",
        "kiam_sts_assumerole_current 0",
        "kiam_sts_assumerole_timing_seconds_bucket{le=\"0.001\"} 0",
        "kiam_sts_assumerole_timing_seconds_bucket{le=\"4.096\"} 0",
        "grpc_server_tls_certificate_update_error 0",
        "grpc_server_handled_total{grpc_code=\"OK\",grpc_method=\"GetPodRole\",grpc_service=\"kiam.KiamService\",grpc_type=\"unary\"} 1",
    ] {
        assert!(metrics.lines().any(|line| line == series), "{series} in {metrics}");
    }

    shutdown.begin();
    assert_eq!(running.finished().await, Ok(()));
    assert!(TcpStream::connect(ops).await.is_err(), "the operators' listener has ended too");
}

#[tokio::test]
async fn an_agent_is_supplied_until_the_server_sends_it_away() {
    install_crypto_provider();
    let pki = Pki::new();
    let (server, agent) = (pki.issue("server", &["localhost"]), pki.issue("agent", &["agent"]));
    let mut on_node = pod("a", &json!("10.0.0.1"));
    on_node["spec"] = json!({ "nodeName": "node-1" });
    let kubeconfig = kubernetes(pki.path(), vec![on_node, pod("elsewhere", &json!("10.0.0.2"))]).await;
    let shutdown = Shutdown::new();
    let running = start(config(&server, &kubeconfig, &[]), shutdown.clone()).await.unwrap();
    let channel = channel(&running, &agent).await;
    serving(channel.clone()).await;

    let hello = Hello { node: "node-1".into(), agent_version: "0.0.9".into(), ..Hello::default() };
    let first = NodeMessage { message: Some(Said::Hello(hello)) };
    let (says, said) = mpsc::channel(1);
    says.send(first).await.unwrap();
    let mut told = NodeSyncClient::new(channel.clone()).sync(ReceiverStream::new(said)).await.unwrap().into_inner();
    let mut next = async || told.message().await.unwrap().unwrap().message.unwrap();
    assert!(matches!(next().await, Message::Welcome(welcome) if welcome.node == "node-1"));
    let Message::Bind(bind) = next().await else { panic!("the pod comes first") };
    assert_eq!((bind.ip.as_str(), bind.pod.unwrap().name.as_str()), ("10.0.0.1", "a"));
    let Some(Decision::Refusal(refusal)) = bind.decision else { panic!("the namespace permits nothing") };
    assert_eq!(refusal.reason, "Forbidden");
    assert!(matches!(next().await, Message::SnapshotEnd(_)));

    let fleet = FleetClient::new(channel.clone()).list_nodes(ListNodesRequest::default()).await.unwrap().into_inner();
    assert_eq!(fleet.nodes.len(), 1);
    assert!(fleet.nodes[0].peer.starts_with("127.0.0.1:"), "{}", fleet.nodes[0].peer);
    let metrics = get(running.ops_addr.unwrap(), "/metrics").await;
    for series in
        ["kiam_nodes_connected 1", "kiam_nodes_version_mismatch 1", "kiam_node_messages_total{kind=\"bind\"} 1"]
    {
        assert!(metrics.lines().any(|line| line == series), "{series} in {metrics}");
    }

    shutdown.begin();
    assert!(matches!(next().await, Message::GoAway(_)));
    drop((says, told));
    assert_eq!(running.finished().await, Ok(()));
}

#[tokio::test]
async fn a_client_of_another_authority_is_turned_away() {
    install_crypto_provider();
    let (pki, others) = (Pki::new(), Pki::new());
    let server = pki.issue("server", &["localhost"]);
    let mut stranger = others.issue("agent", &["agent"]);
    stranger.ca = server.ca.clone();
    let kubeconfig = kubernetes(pki.path(), Vec::new()).await;
    let running = start(config(&server, &kubeconfig, &[]), Shutdown::new()).await.unwrap();
    let channel = channel(&running, &stranger).await;
    let request = GetPodRoleRequest { ip: "10.0.0.1".into() };
    assert!(KiamServiceClient::new(channel).get_pod_role(request).await.is_err());
}

#[tokio::test]
async fn what_the_user_gave_wrong_ends_the_start_with_a_line_that_names_the_flag() {
    install_crypto_provider();
    let pki = Pki::new();
    let server = pki.issue("server", &["localhost"]);
    let kubeconfig = kubernetes(pki.path(), Vec::new()).await;
    let missing = TlsArgs { cert: pki.path().join("missing.crt"), ..server.clone() };
    for (config, flag) in [
        (config(&missing, &kubeconfig, &[]), "--cert"),
        (config(&server, &pki.path().join("missing"), &[]), "--kubeconfig"),
        (config(&server, &server.key, &[]), "--kubeconfig"),
        (config(&server, &kubeconfig, &["--assume-role-arn=a b"]), "--assume-role-arn"),
        (Config { bind: "localhost".into(), ..config(&server, &kubeconfig, &[]) }, "--bind"),
    ] {
        let error = start(config, Shutdown::new()).await.unwrap_err();
        assert!(error.to_string().contains(flag), "{error} should name {flag}");
        assert_eq!(error.to_string().lines().count(), 1, "{error}");
        assert_eq!(error.exit_code(), 2, "{error}");
    }
}

#[tokio::test]
async fn a_port_that_is_taken_is_not_the_users_mistake() {
    install_crypto_provider();
    let pki = Pki::new();
    let server = pki.issue("server", &["localhost"]);
    let kubeconfig = kubernetes(pki.path(), Vec::new()).await;
    let taken = TcpListener::bind((IpAddr::from([127, 0, 0, 1]), 0)).await.unwrap();
    let bind = taken.local_addr().unwrap().to_string();
    let error = start(Config { bind, ..config(&server, &kubeconfig, &[]) }, Shutdown::new()).await.unwrap_err();
    assert!(matches!(error, StartError::Listen(_)), "{error}");
    assert_eq!(error.exit_code(), 1);
}
