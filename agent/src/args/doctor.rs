//! The flags of `kiam-agent doctor`: the agent's, so that it finds what an agent with them would.

use std::time::Duration;

use clap::{ArgAction, Args};
use kiam_common::args::parse_duration;

use super::AgentArgs;

/// What to look at, and how.
#[derive(Args, Clone, Debug)]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    pub(crate) agent: AgentArgs,

    /// For whom the token in --server-token-file must be made: the servers' --token-audience
    #[arg(long, value_name = "AUDIENCE", default_value = "kiam-server")]
    pub(crate) token_audience: String,

    /// The longest time for each thing that is asked
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = parse_duration)]
    pub(crate) timeout: Duration,

    /// Print one JSON object
    #[arg(long, num_args = 0..=1, default_value = "false", default_missing_value = "true", require_equals = true,
          action = ArgAction::Set)]
    pub(crate) json: bool,
}
