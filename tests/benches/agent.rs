//! What an agent costs a node, and how soon it is of use: `cargo bench -p kiam-tests --bench agent`.
//!
//! - the memory that it holds once each of 110 pods, each with a role of its own, has asked;
//! - the size of the stripped binary, and the time from its start to its first answer;
//! - the time from a pod's address being in the Kubernetes API to that pod's first credentials, with the role in the
//!   vault already and the pod's request waiting, as it does when its SDK is faster than the cluster.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use http::StatusCode;
use kiam_tests::kube_api::Pod;
use kiam_tests::real::http::{connect, get};
use kiam_tests::stack::{Setup, Stack};
use serde_json::json;
use tokio::time::Instant;

const PODS: u8 = 110;
const ARRIVALS: u8 = 200;
const STARTS: usize = 11;
const CREDENTIALS: &str = "/latest/meta-data/iam/security-credentials/";

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let binary = release_binary();
    let megabytes = |bytes: u64| f64::from(u32::try_from(bytes >> 10).expect("below 4 TiB")) / 1024.0;
    let mut stack = stack(&binary).await;
    let agent = stack.nodes[0].agent.addresses().main;

    let arrivals = arrivals(&stack, agent).await;
    let memory = memory(&stack, agent).await;
    let start = start(&stack, &binary).await;
    stack.stop().await.expect("the programs stop");

    let size = std::fs::metadata(&binary).expect("it was built").len();
    let rows = [
        ("S6", "agent's resident memory with 110 pods, MB", megabytes(memory), 12.0),
        ("S9", "address in the API to first credentials, p99, ms", percentile(arrivals, 99), 25.0),
        ("S10", "agent's binary, stripped, MB", megabytes(size), 8.0),
        ("S10", "process start to first answer, median, ms", percentile(start, 50), 50.0),
    ];
    println!("{:<5} {:<52} {:>10} {:>10}", "", "", "measured", "target");
    for (number, what, measured, target) in rows {
        println!("{number:<5} {what:<52} {measured:>10.1} {:>10}", format!("<= {target}"));
    }
    let line = rows.map(|(number, what, measured, target)| {
        json!({ "number": number, "what": what, "measured": measured, "target": target })
    });
    println!("{}", json!(line));
}

async fn stack(agent: &Path) -> Stack {
    let mut setup = Setup::new(env!("CARGO_BIN_EXE_kiam-sandbox"), &["node-a"]);
    setup.agent_binary = agent.into();
    let stack = Stack::start(setup).await.expect("the stack starts");
    stack.kube.put_namespace("bench", &[("iam.amazonaws.com/permitted", ".*")]);
    stack
}

/// Milliseconds for each of many pods that arrive one after the other, all with the same role.
async fn arrivals(stack: &Stack, agent: SocketAddr) -> Vec<f64> {
    run_pod(stack, "first", address(2, 0), "shared");
    assert_eq!(get(address(2, 0), agent, &format!("{CREDENTIALS}shared")).await.status, StatusCode::OK);
    let mut times = Vec::new();
    for number in 1..=ARRIVALS {
        let ip = address(2, number);
        let asking = tokio::spawn(async move { get(ip, agent, &format!("{CREDENTIALS}shared")).await });
        // The request is on its way before the pod is known.
        tokio::time::sleep(Duration::from_millis(20)).await;
        let start = Instant::now();
        run_pod(stack, &format!("late-{number}"), ip, "shared");
        assert_eq!(asking.await.expect("it is answered").status, StatusCode::OK);
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    times
}

/// Bytes.
async fn memory(stack: &Stack, agent: SocketAddr) -> u64 {
    for number in 1..=ARRIVALS {
        assert!(stack.kube.remove_pod("bench", &format!("late-{number}")));
    }
    for number in 1..=PODS {
        run_pod(stack, &format!("pod-{number}"), address(1, number), &format!("role-{number}"));
    }
    for number in 1..=PODS {
        let answer = get(address(1, number), agent, &format!("{CREDENTIALS}role-{number}")).await;
        assert_eq!(answer.status, StatusCode::OK);
    }
    let process = stack.nodes[0].agent.id().expect("the agent runs");
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("this is Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it is always there");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}

/// Milliseconds from starting the process to its first answer, many times. Nothing else is there for it.
async fn start(stack: &Stack, binary: &Path) -> Vec<f64> {
    let tls = stack.issue("starting");
    let address: SocketAddr = ([127, 0, 0, 1], 31_007).into();
    let mut times = Vec::new();
    for _ in 0..STARTS {
        let start = Instant::now();
        let mut agent = Command::new(binary)
            .args(["--bind=127.0.0.1", "--port=31007", "--prometheus-listen-addr=", "--level=error"])
            .args(["--server-address=127.0.0.1:1".into(), format!("--metadata-endpoint={}", stack.imds.url())])
            .args([format!("--cert={}", tls.cert.display()), format!("--key={}", tls.key.display())])
            .arg(format!("--ca={}", tls.ca.display()))
            .stdout(Stdio::null())
            .spawn()
            .expect("it was built");
        while connect(address.ip(), address).await.is_err() {
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
        assert_eq!(get(address.ip(), address, "/ping").await.status, StatusCode::OK);
        times.push(start.elapsed().as_secs_f64() * 1e3);
        agent.kill().and_then(|()| agent.wait()).expect("it ends");
    }
    times
}

fn run_pod(stack: &Stack, name: &str, ip: IpAddr, role: &str) {
    stack.kube.put_pod(&Pod::new("bench", name, "node-a", &ip.to_string(), role));
}

fn address(network: u8, number: u8) -> IpAddr {
    Ipv4Addr::new(127, network, 1, number).into()
}

/// The agent as users have it, built as users build it.
fn release_binary() -> PathBuf {
    let cargo = std::env::var_os("CARGO").expect("cargo runs this");
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
    let arguments = ["build", "--release", "--package", "kiam-agent", "--manifest-path", manifest];
    let built = Command::new(cargo).args(arguments).status().expect("cargo runs");
    assert!(built.success(), "the agent must build");
    let profiles =
        Path::new(env!("CARGO_BIN_EXE_kiam-sandbox")).ancestors().nth(2).expect("it is in a profile's directory");
    profiles.join("release/kiam-agent")
}

fn percentile(mut times: Vec<f64>, percent: usize) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() * percent / 100]
}
