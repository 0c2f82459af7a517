//! The groups of flags that both programs have, with Kiam's names and defaults.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args};

use super::{HostPort, MetricsArgs, parse_duration};
use crate::telemetry::Level;

/// How to log.
#[derive(Args, Clone, Debug)]
pub struct LogArgs {
    /// Log one JSON object a line
    #[arg(long, num_args = 0..=1, default_value = "false", default_missing_value = "true", require_equals = true,
          action = ArgAction::Set)]
    pub json_log: bool,

    /// Log what is at least this grave
    #[arg(long, value_enum, default_value = "info")]
    pub level: Level,
}

/// The listeners for those who operate the program.
#[derive(Args, Clone, Debug)]
pub struct OpsArgs {
    /// Address of /metrics, /live and /ready; empty turns it off
    #[arg(long, value_name = "ADDRESS", default_value = "localhost:9620")]
    pub prometheus_listen_addr: String,

    /// How often the sampled gauges are refreshed
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = parse_duration)]
    pub prometheus_sync_interval: Duration,

    /// Who may read metrics, and how.
    #[command(flatten)]
    pub metrics: MetricsArgs,

    /// Address of /debug/pprof/profile; empty, the default, turns it off
    #[arg(long, value_name = "ADDRESS", default_value = "")]
    pub pprof_listen_addr: String,
}

/// The files of the gRPC identity and trust; all three are re-read when they change.
#[derive(Args, Clone, Debug)]
pub struct TlsArgs {
    /// PEM file with this program's certificate chain
    #[arg(long, value_name = "FILE")]
    pub cert: PathBuf,

    /// PEM file with the private key of the certificate
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,

    /// PEM file with the certificate authorities that the other side must chain to
    #[arg(long, value_name = "FILE")]
    pub ca: PathBuf,
}

/// HTTP/2 keepalive of a gRPC connection.
#[derive(Args, Clone, Debug)]
pub struct KeepaliveArgs {
    /// Ping a connection this often to see whether the other side is still there; 0s turns it off
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse_duration)]
    pub grpc_keepalive_time_duration: Duration,

    /// Give a connection up when a ping is not answered within this time
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = parse_duration)]
    pub grpc_keepalive_timeout_duration: Duration,

    /// Ping connections that have no call in flight, too
    #[arg(long, num_args = 0..=1, default_value = "false", default_missing_value = "true", require_equals = true,
          action = ArgAction::Set)]
    pub grpc_keepalive_permit_without_stream: bool,
}

/// Where the server is and how connections to it behave.
#[derive(Args, Clone, Debug)]
pub struct ServerAddressArgs {
    /// host:port of the server's service; all addresses of the host are used
    #[arg(long, value_name = "HOST:PORT", default_value = "localhost:9610")]
    pub server_address: HostPort,

    /// Deprecated in Kiam, and accepted: names are resolved again by themselves
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = parse_duration)]
    pub server_address_refresh: Duration,

    /// The longest time to set up a connection
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = parse_duration)]
    pub gateway_timeout_creation: Duration,

    /// Keepalive of connections to the server.
    #[command(flatten)]
    pub keepalive: KeepaliveArgs,
}
