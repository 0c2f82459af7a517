//! What a large cluster costs the server, and how soon its agents hear of a change: `cargo bench -p kiam-tests --bench
//! fleet`. `-- --nodes 100 --pods 3000 --seconds 5` tries it small.
//!
//! One real server process over an emulated Kubernetes API and an emulated STS; the agents are streams alone, in a
//! process of their own, many on each connection, so that what is measured for a stream leaves out its connection. The
//! emulators, the agents and the server share the machine's cores.

mod agents;
mod changes;
mod cluster;
mod report;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};
use kiam_common::args::TlsArgs;
use kiam_tests::stack::{Setup, Stack};
use rustix::time::{ClockId, clock_gettime};
use tokio::time::{Instant, sleep};

use agents::Agents;
use report::Report;

/// How long memory is left to settle before it is read.
const SETTLING: Duration = Duration::from_secs(5);

/// How large the cluster is.
#[derive(Clone, Debug, Parser)]
struct Size {
    #[arg(long, default_value = "5000")]
    nodes: u32,
    #[arg(long, default_value = "150000")]
    pods: u32,
    #[arg(long, default_value = "1000")]
    roles: u32,
    /// Pods whose annotation changes each second.
    #[arg(long, default_value = "200")]
    changes: u32,
    /// For how long they change.
    #[arg(long, default_value = "60")]
    seconds: u32,
    /// Streams on each connection.
    #[arg(long, default_value = "100")]
    streams: u32,
    /// Cargo says so.
    #[arg(long, hide = true)]
    bench: bool,
    #[command(subcommand)]
    part: Option<Part>,
}

/// The other process.
#[derive(Clone, Debug, Subcommand)]
enum Part {
    /// All agents.
    Agents { server: std::net::SocketAddr, cert: PathBuf, key: PathBuf, ca: PathBuf },
}

#[tokio::main]
async fn main() {
    kiam_common::tls::install_crypto_provider();
    let size = Size::parse();
    match size.part.clone() {
        Some(Part::Agents { server, cert, key, ca }) => agents::run(&size, server, &TlsArgs { cert, key, ca }).await,
        None => measure(&size).await.print(),
    }
}

async fn measure(size: &Size) -> Report {
    let mut stack = Stack::start(setup()).await.expect("the server and what is around it");
    sleep(SETTLING).await;
    let empty = memory(&stack, "VmRSS");
    stack.server.stop().await.expect("the server stops");
    eprintln!("filling the cluster");
    cluster::fill(&stack.kube, size);

    eprintln!("listing it");
    let start = Instant::now();
    stack.start_server_again().await.expect("the server starts again");
    cluster::until_listed(&stack).await;
    let listed_after = start.elapsed();
    cluster::until_credentials_are_there(&stack, size).await;
    sleep(SETTLING).await;
    let (peak, steady) = (memory(&stack, "VmHWM"), memory(&stack, "VmRSS"));

    eprintln!("supplying its nodes");
    let start = Instant::now();
    let mut agents = Agents::start(size, &stack).await;
    let supplied_after = start.elapsed();
    sleep(SETTLING).await;
    let supplying = memory(&stack, "VmRSS");
    eprintln!("changing its pods");
    let delays = changes::make(size, &stack.kube, &mut agents).await;
    let busy = memory(&stack, "VmRSS");
    let lost = agents.lost;
    Report { size: size.clone(), empty, peak, steady, supplying, busy, listed_after, supplied_after, delays, lost }
}

fn setup() -> Setup {
    let server_flags = ["--fetchers=64", "--sts-rate=1000", "--prefetch-buffer-size=100000"];
    Setup {
        binary: env!("CARGO_BIN_EXE_kiam-sandbox").into(),
        nodes: Vec::new(),
        log_level: "info",
        server_flags: server_flags.map(Into::into).into(),
        server_environment: Vec::new(),
        agent_flags: Vec::new(),
    }
}

/// A line of the server's `/proc/<pid>/status`, in bytes.
fn memory(stack: &Stack, field: &str) -> f64 {
    let pid = stack.server.id().expect("the server runs");
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')).expect("the field");
    let kilobytes: f64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kilobytes * 1024.0
}

/// The machine's monotonic clock, which all processes share, in nanoseconds.
fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    u64::try_from(time.tv_sec * 1_000_000_000 + time.tv_nsec).expect("a time since the machine's start")
}
