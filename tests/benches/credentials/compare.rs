//! How fast credentials come, against the least that the libraries underneath can do: `cargo bench --bench credentials`.
//!
//! Each side in processes of its own, measured in turns (A B A B …), medians of the turns:
//!
//! - the agent that a server supplies, against a bare hyper server that answers the same bytes: 32 connections kept, a
//!   connection for each request, and the time that answers take at a fixed rate;
//! - an agent that asks the server for each request (`--no-push`, as it does beside servers of Kiam's), likewise;
//! - the server's `GetPodCredentials`, 64 calls in flight on one mutual-TLS connection, against a bare tonic service
//!   that answers the same message over the same TLS.
//!
//! Rates on a shared machine drift; the ratios of one run do not.

mod bare;
mod load;
mod report;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::time::Duration;

use kiam_common::args::TlsArgs;
use kiam_proto::kiam::Credentials;
use kiam_tests::kube_api::Pod;
use kiam_tests::stack::{Setup, Stack};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, Command};

use load::{Connections, Question};
use report::{Comparison, Target};

const ROLE: &str = "reader";
const PATH: &str = "/latest/meta-data/iam/security-credentials/reader";
const TURNS: usize = 5;
const TURN: Duration = Duration::from_secs(3);
const CONNECTIONS: usize = 32;
const IN_FLIGHT: usize = 64;
/// Requests a second where it is the time that counts.
const PACE: u32 = 5000;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    kiam_common::tls::install_crypto_provider();
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["bare-hyper", body] => serve_on_all_cores(bare::hyper((*body).to_owned().into())),
        ["bare-tonic", cert, key, ca] => serve_on_all_cores(bare::tonic(files(cert, key, ca), credentials())),
        ["load-http", target] => {
            println!("{}", load::http(&question(target), Connections::Kept, CONNECTIONS, TURN).await);
        }
        ["load-http-new", target] => {
            println!("{}", load::http(&question(target), Connections::New, CONNECTIONS, TURN).await);
        }
        ["load-http-paced", target] => {
            println!("{}", load::http_paced(&question(target), PACE, 32, TURN).await);
        }
        ["load-grpc", target, cert, key, ca] => {
            let pod = sources()[0].to_string();
            println!("{}", load::grpc(address(target), &files(cert, key, ca), &pod, ROLE, IN_FLIGHT, TURN).await);
        }
        _ => compare().await,
    }
}

/// Runs all comparisons and prints what they found.
async fn compare() {
    let mut stack = stack().await;
    let agent = stack.nodes[0].agent.addresses().main;
    let mut asking = stack.another_agent("asking", &["--no-push"]).await.expect("another agent starts");
    let asking_agent = asking.addresses().main;
    let body = load::one(&question(&agent.to_string())).await;
    let mut hyper = Yardstick::start(&["bare-hyper", &body]).await;
    let (client, server_files) = (paths(&stack.issue("bench")), paths(&stack.issue("localhost")));
    let mut tonic =
        Yardstick::start(&[&["bare-tonic"], server_files.each_ref().map(String::as_str).as_slice()].concat()).await;

    let comparison = |key, what, target| Comparison { key, what, target, pairs: Vec::new() };
    let mut through_http = [
        (
            comparison("kept_vs_hyper", "agent, 32 connections / bare hyper, answers/s", Target::AtLeast(0.90)),
            "load-http",
            agent,
        ),
        (
            comparison(
                "new_vs_hyper",
                "agent, a connection for each request / bare hyper, answers/s",
                Target::AtLeast(0.90),
            ),
            "load-http-new",
            agent,
        ),
        (
            comparison("p99_vs_hyper", "agent, 5,000 requests a second / bare hyper, p99 in us", Target::AtMost(1.50)),
            "load-http-paced",
            agent,
        ),
        (
            comparison(
                "asking_vs_hyper",
                "agent that asks the server each time / bare hyper, answers/s",
                Target::AtLeast(0.20),
            ),
            "load-http",
            asking_agent,
        ),
    ];
    let what = "server, 64 calls in flight on one connection / bare tonic, answers/s";
    let mut unary = comparison("server_unary_vs_tonic", what, Target::AtLeast(0.85));
    for _ in 0..TURNS {
        for (comparison, load, target) in &mut through_http {
            let yardstick = measured(&[load, &hyper.address]).await;
            comparison.pairs.push((yardstick, measured(&[load, &target.to_string()]).await));
        }
        let grpc = |target: &str| {
            let words = [&["load-grpc".to_owned(), target.to_owned()], client.as_slice()].concat();
            async move { measured(&words.iter().map(String::as_str).collect::<Vec<_>>()).await }
        };
        let yardstick = grpc(&tonic.address).await;
        unary.pairs.push((yardstick, grpc(&stack.server.addresses().main.to_string()).await));
    }
    report::print(&through_http.into_iter().map(|(comparison, ..)| comparison).chain([unary]).collect::<Vec<_>>());
    hyper.child.kill().await.expect("the yardstick ends");
    tonic.child.kill().await.expect("the yardstick ends");
    asking.stop().await.expect("the agent stops");
    stack.stop().await.expect("the programs stop");
}

/// A server, and an agent whose node has a pod at each of the sources.
async fn stack() -> Stack {
    let setup = Setup::new(env!("CARGO_BIN_EXE_kiam-sandbox"), &["node-a"]);
    let stack = Stack::start(setup).await.expect("the stack starts");
    stack.kube.put_namespace("bench", &[("iam.amazonaws.com/permitted", ".*")]);
    for (number, source) in sources().iter().enumerate() {
        stack.kube.put_pod(&Pod::new("bench", &format!("pod-{number}"), "node-a", &source.to_string(), ROLE));
    }
    stack
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

/// Runs a load generator in a process of its own; what it measured.
async fn measured(words: &[&str]) -> f64 {
    let mut child = again(words).stdout(Stdio::piped()).spawn().expect("this binary runs again");
    let mut printed = String::new();
    child.stdout.take().expect("it is piped").read_to_string(&mut printed).await.expect("a number");
    printed.trim().parse().expect("a number")
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

/// For credentials, asked by all pods.
fn question(target: &str) -> Question {
    Question { target: address(target), path: PATH, sources: sources() }
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
