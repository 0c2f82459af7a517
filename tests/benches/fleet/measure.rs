//! The measurement, step by step, by the process that runs the server and what is around it.

use std::time::Duration;

use kiam_tests::stack::{Setup, Stack};
use tokio::time::{Instant, sleep};

use crate::agents::Agents;
use crate::report::Report;
use crate::size::Size;
use crate::{changes, cluster};

/// How long memory is left to settle before it is read.
const SETTLING: Duration = Duration::from_secs(5);

/// Fills a cluster, supplies its nodes and changes its pods; what that took.
pub(crate) async fn measure(size: &Size) -> Report {
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
    let setup = Setup::new(env!("CARGO_BIN_EXE_kiam-sandbox"), &[]);
    Setup { server_flags: server_flags.map(Into::into).into(), ..setup }
}

/// A line of the server's `/proc/<pid>/status`, in bytes.
fn memory(stack: &Stack, field: &str) -> f64 {
    let pid = stack.server.id().expect("the server runs");
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')).expect("the field");
    let kilobytes: f64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kilobytes * 1024.0
}
