//! The flags that say how much of the agent pods may take.

use clap::Args;

use crate::http::peers::Limits;

/// How much is served at a time.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct LimitArgs {
    /// Connections of all pods at a time
    #[arg(long = "max-connections", value_name = "NUMBER", default_value = "1024", value_parser = parse_number)]
    connections: usize,

    /// Connections of one pod at a time; less where fewer than that are left for others
    #[arg(long = "max-connections-per-pod", value_name = "NUMBER", default_value = "128", value_parser = parse_number)]
    connections_per_pod: usize,

    /// Requests of one pod at a time
    #[arg(long = "max-requests-per-pod", value_name = "NUMBER", default_value = "64", value_parser = parse_number)]
    requests_per_pod: usize,
}

impl From<LimitArgs> for Limits {
    fn from(args: LimitArgs) -> Self {
        Self {
            connections: args.connections,
            connections_per_pod: args.connections_per_pod,
            requests_per_pod: args.requests_per_pod,
        }
    }
}

fn parse_number(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|number| (1..=1_000_000).contains(number)).ok_or_else(|| "expected 1 to 1000000".into())
}
