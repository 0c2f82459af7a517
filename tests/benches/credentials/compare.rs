//! How fast credentials come, against the least that the libraries underneath can do: `cargo bench --bench credentials`.
//!
//! Three comparisons, each side in processes of its own, measured in turns (A B A B …), medians of the turns:
//!
//! - the agent, asked over 32 keep-alive connections, each request going through the server, against a bare hyper
//!   server that answers the same bytes; once by one pod, whose simultaneous requests share calls to the server, and
//!   once by as many pods as connections, which share nothing;
//! - the server's `GetPodCredentials`, 64 calls in flight on one mutual-TLS connection, against a bare tonic service
//!   that answers the same message over the same TLS.
//!
//! Rates on a shared machine drift; the ratios of one run do not.

mod bare;
mod load;
mod report;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use kiam_common::args::TlsArgs;
use kiam_proto::kiam::Credentials;
use kiam_tests::kube_api::Pod;
use kiam_tests::stack::{Setup, Stack};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, Command};

use report::Comparison;

const ROLE: &str = "reader";
const PATH: &str = "/latest/meta-data/iam/security-credentials/reader";
const TURNS: usize = 5;
const TURN: Duration = Duration::from_secs(3);
const CONNECTIONS: usize = 32;
const IN_FLIGHT: usize = 64;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    kiam_common::tls::install_crypto_provider();
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["bare-hyper", body] => serve_on_all_cores(bare::hyper((*body).to_owned().into())),
        ["bare-tonic", cert, key, ca] => serve_on_all_cores(bare::tonic(files(cert, key, ca), credentials())),
        ["load-http", target, pods] => {
            let pods = &sources()[..pods.parse().expect("a number")];
            println!("{}", load::http(address(target), PATH, pods, CONNECTIONS, TURN).await);
        }
        ["load-grpc", target, cert, key, ca] => {
            let pod = sources()[0].to_string();
            println!("{}", load::grpc(address(target), &files(cert, key, ca), &pod, ROLE, IN_FLIGHT, TURN).await);
        }
        _ => compare().await,
    }
}

/// Runs both comparisons and prints what they found.
async fn compare() {
    let setup = Setup {
        binary: PathBuf::from(env!("CARGO_BIN_EXE_kiam-sandbox")),
        nodes: vec!["node-a"],
        log_level: "info",
        server_flags: Vec::new(),
        server_environment: Vec::new(),
        agent_flags: Vec::new(),
    };
    let mut stack = Stack::start(setup).await.expect("the stack starts");
    stack.kube.put_namespace("bench", &[("iam.amazonaws.com/permitted", ".*")]);
    for (number, source) in sources().iter().enumerate() {
        stack.kube.put_pod(&Pod::new("bench", &format!("pod-{number}"), "node-a", &source.to_string(), ROLE));
    }
    let agent = stack.nodes[0].agent.addresses().main;
    let body = load::one(agent, PATH, sources()[0]).await;

    let mut hyper = Yardstick::start(&["bare-hyper", &body]).await;
    let client = stack.issue("bench");
    let server_files = stack.issue("localhost");
    let mut tonic =
        Yardstick::start(&[&["bare-tonic"], paths(&server_files).each_ref().map(String::as_str).as_slice()].concat())
            .await;

    let through_both = |key, what| Comparison { key, what, target: 0.20, pairs: Vec::new() };
    let mut one_pod = through_both("one_pod_vs_hyper", "agent and server, 32 connections of one pod / bare hyper");
    let mut all_pods = through_both("all_pods_vs_hyper", "agent and server, 32 connections of 32 pods / bare hyper");
    let mut unary = Comparison {
        key: "server_unary_vs_tonic",
        what: "server, 64 in flight on one connection / bare tonic",
        target: 0.85,
        pairs: Vec::new(),
    };
    for _ in 0..TURNS {
        for (comparison, pods) in [(&mut one_pod, "1"), (&mut all_pods, "32")] {
            let yardstick = rate(&["load-http", &hyper.address, pods]).await;
            comparison.pairs.push((yardstick, rate(&["load-http", &agent.to_string(), pods]).await));
        }
        let files = paths(&client);
        let grpc = |target: String| {
            let words = [&["load-grpc".to_owned(), target], files.as_slice()].concat();
            async move { rate(&words.iter().map(String::as_str).collect::<Vec<_>>()).await }
        };
        let yardstick = grpc(tonic.address.clone()).await;
        unary.pairs.push((yardstick, grpc(stack.server.addresses().main.to_string()).await));
    }
    report::print(&[one_pod, all_pods, unary]);
    hyper.child.kill().await.expect("the yardstick ends");
    tonic.child.kill().await.expect("the yardstick ends");
    stack.stop().await.expect("the programs stop");
}

/// A bare server in a process of its own.
struct Yardstick {
    child: Child,
    address: String,
}

impl Yardstick {
    async fn start(words: &[&str]) -> Self {
        let mut child = again(words).stdout(Stdio::piped()).spawn().expect("this binary runs again");
        let stdout = child.stdout.take().expect("it is piped");
        let mut address = String::new();
        BufReader::new(stdout).read_line(&mut address).await.expect("its address");
        Self { child, address: address.trim().to_owned() }
    }
}

/// Runs a load generator in a process of its own; answers a second.
async fn rate(words: &[&str]) -> f64 {
    let mut child = again(words).stdout(Stdio::piped()).spawn().expect("this binary runs again");
    let mut printed = String::new();
    child.stdout.take().expect("it is piped").read_to_string(&mut printed).await.expect("a rate");
    printed.trim().parse().expect("a rate")
}

fn again(words: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this binary"));
    command.args(words).kill_on_drop(true);
    command
}

/// The yardsticks get the runtime that the programs have.
fn serve_on_all_cores(server: impl Future<Output = ()> + Send + 'static) {
    std::thread::spawn(|| tokio::runtime::Runtime::new().expect("a runtime").block_on(server)).join().expect("serving");
}

/// The pods' addresses.
fn sources() -> Vec<IpAddr> {
    (1..=32).map(|number| IpAddr::V4(Ipv4Addr::new(127, 1, 0, number))).collect()
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn files(cert: &str, key: &str, ca: &str) -> TlsArgs {
    TlsArgs { cert: cert.into(), key: key.into(), ca: ca.into() }
}

fn paths(files: &TlsArgs) -> [String; 3] {
    [&files.cert, &files.key, &files.ca].map(|path| path.display().to_string())
}

/// Of the size that the emulated STS gives out.
fn credentials() -> Credentials {
    Credentials {
        code: "Success".into(),
        r#type: "AWS-HMAC".into(),
        access_key_id: "A".repeat(20),
        secret_access_key: "s".repeat(40),
        token: "t".repeat(400),
        expiration: "2026-11-21T10:00:00Z".into(),
        last_updated: "2026-11-21T09:00:00Z".into(),
        account_id: "123456789012".into(),
    }
}
