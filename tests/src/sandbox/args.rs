//! The sandbox's flags.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use kiam_common::args::parse_duration;

/// All of kiam-rs on this machine: a server, two nodes with an agent each, and pods that keep asking for credentials
///
/// AWS, Kubernetes and the instance metadata service are emulated; nothing leaves loopback. Pods have addresses in
/// 127.0.0.0/8, so this runs on Linux. Watch the table, change pods with kubectl or in pods.yaml, and ask as a pod with
/// curl or the AWS CLI: the commands are printed. Ctrl-C ends everything.
#[derive(Clone, Debug, Parser)]
#[command(name = "kiam-sandbox", version)]
pub(super) struct Args {
    /// Take the tour instead: check that every pod gets what it should and nothing else, and end with 0 or 1
    #[arg(long)]
    pub(super) once: bool,

    /// Pods and namespaces to run, as `kubectl apply` takes them; followed while the sandbox runs. Default: a file of
    /// its own with seven pods
    #[arg(long, value_name = "FILE", conflicts_with = "once")]
    pub(super) pods: Option<PathBuf>,

    /// How often each pod asks for credentials
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = parse_duration)]
    pub(super) every: Duration,
}
