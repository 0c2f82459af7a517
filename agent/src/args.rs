//! The agent's flags, with Kiam's names and defaults; `config.rs` makes values of them.

use std::net::IpAddr;

use clap::{ArgAction, Parser};
use kiam_common::args::{LogArgs, OpsArgs, ServerAddressArgs, TlsArgs};

use crate::http::proxy::AllowedRoutes;
use crate::metadata::Endpoint;

/// Answers the AWS credential requests of the pods on its node
#[derive(Clone, Debug, Parser)]
#[command(name = "kiam-agent", version)]
pub(crate) struct AgentArgs {
    #[command(flatten)]
    pub(crate) log: LogArgs,

    #[command(flatten)]
    pub(crate) ops: OpsArgs,

    #[command(flatten)]
    pub(crate) tls: TlsArgs,

    #[command(flatten)]
    pub(crate) server: ServerAddressArgs,

    /// Port that pods' metadata requests are answered on; 0 takes any free one
    #[arg(long, value_name = "PORT", default_value = "3100")]
    pub(crate) port: u16,

    /// Address that the port is opened on
    #[arg(long, value_name = "IP", default_value = "0.0.0.0")]
    pub(crate) bind: IpAddr,

    /// Let ?ip= choose the pod that a request is for; for development only
    #[arg(long, num_args = 0..=1, default_value = "false", default_missing_value = "true", require_equals = true,
          action = ArgAction::Set)]
    pub(crate) allow_ip_query: bool,

    /// Metadata paths that pods may read from the instance metadata service; the whole path must match
    #[arg(long, alias = "whitelist-route-regexp", value_name = "REGEXP", default_value = "^$",
          value_parser = AllowedRoutes::parse)]
    pub(crate) allow_route_regexp: AllowedRoutes,

    /// The instance metadata service behind the agent; default also from `AWS_EC2_METADATA_SERVICE_ENDPOINT`
    #[arg(long, value_name = "URL", default_value = metadata_endpoint(), value_parser = Endpoint::parse)]
    pub(crate) metadata_endpoint: Endpoint,
}

/// Where AWS SDKs are told to find the service, so that the agent finds it there too.
fn metadata_endpoint() -> String {
    let given = std::env::var("AWS_EC2_METADATA_SERVICE_ENDPOINT").ok();
    given.filter(|endpoint| !endpoint.is_empty()).unwrap_or_else(|| "http://169.254.169.254".into())
}
