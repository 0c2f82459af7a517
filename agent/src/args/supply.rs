//! The flags of the stream that supplies the agent.

use std::time::Duration;

use clap::{ArgAction, Args};
use kiam_common::args::parse_duration;

/// The longest name that a Kubernetes object may have.
const NAME_MAX: usize = 253;

/// How the agent is supplied.
#[derive(Args, Clone, Debug)]
pub(crate) struct SupplyArgs {
    /// Hold a stream to a server that supplies what this node's pods may have; without it every request is a call
    #[arg(long, num_args = 0..=1, default_value = "true", default_missing_value = "true", require_equals = true,
          action = ArgAction::Set)]
    pub(crate) push: bool,

    /// Name of this node in Kubernetes
    #[arg(long, value_name = "NAME", default_value = host_name(), value_parser = parse_node_name)]
    pub(crate) node_name: String,

    /// How long to answer from memory without a stream where pods' addresses cannot be pinned to their interfaces
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse_duration)]
    pub(crate) max_stale: Duration,
}

/// The kubelet names its node after the machine, in lower case, unless it is told otherwise.
fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().to_lowercase()
}

fn parse_node_name(text: &str) -> Result<String, String> {
    let is_sound = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'-' | b'.');
    if (1..=NAME_MAX).contains(&text.len()) && text.bytes().all(is_sound) {
        Ok(text.into())
    } else {
        Err("expected the name of a Kubernetes node: lower case letters, digits, - and .".into())
    }
}
