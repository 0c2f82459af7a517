//! The server's command line: Kiam's flags, and a few of its own. What is read here is not yet checked against each
//! other: [`crate::config`] does that.

use std::time::Duration;

use clap::{ArgAction, Parser, ValueEnum};
use kiam_common::args::{HostPort, KeepaliveArgs, LogArgs, OpsArgs, TlsArgs, parse_duration};

use crate::metrics::Costly;
use crate::role::resolver::BaseArn;

/// Decides which AWS role each pod may have, and supplies the agents with credentials
#[derive(Clone, Debug, Parser)]
#[command(name = "kiam-server", version = kiam_common::VERSION)]
pub struct ServerArgs {
    /// How to log.
    #[command(flatten)]
    pub log: LogArgs,

    /// The listeners for operators.
    #[command(flatten)]
    pub ops: OpsArgs,

    /// Who the server is.
    #[command(flatten)]
    pub tls: TlsArgs,

    /// HTTP/2 keepalive. The server always pings, and lets its clients ping, without calls under way too.
    #[command(flatten)]
    pub keepalive: KeepaliveArgs,

    /// Where to listen for agents
    #[arg(long, value_name = "ADDRESS", default_value = "localhost:9610")]
    pub bind: String,

    /// The other servers, whose nodes /sd and /metrics?scope=fleet tell of, too; all addresses of the hosts are asked, and
    /// this server may be among them
    #[arg(long, value_name = "HOST:PORT[,HOST:PORT]", value_delimiter = ',')]
    pub peers: Vec<HostPort>,

    /// Kubernetes configuration file; empty inside a cluster
    #[arg(long, value_name = "FILE", default_value = "")]
    pub kubeconfig: String,

    /// How agents are bound to their nodes, whose pods alone they may then ask for
    #[arg(long, value_enum, default_value = "off")]
    pub node_binding: NodeBindingArg,

    /// For whom agents' service account tokens are made, with --node-binding=token
    #[arg(long, value_name = "AUDIENCE", default_value = "kiam-server")]
    pub token_audience: String,

    /// Key of a taint that new nodes start with and lose once their agent is at work; empty for none. With --node-binding
    /// other than off, and the right to get and patch nodes
    #[arg(long, value_name = "KEY", default_value = "")]
    pub startup_taint: String,

    /// Series to show beside the usual ones, although a large cluster has many of them
    #[arg(long, value_enum, value_delimiter = ',', value_name = "KIND[,KIND]")]
    pub metrics_enable: Vec<Costly>,

    /// Accepted as Kiam does; the watch needs no resync
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = parse_duration)]
    pub sync: Duration,

    /// What goes in front of role names, such as `arn:aws:iam::123456789012:role/`
    #[arg(long, value_name = "ARN")]
    pub role_base_arn: Option<BaseArn>,

    /// Read the partition and account for role names from the instance metadata service
    #[arg(long, num_args = 0..=1, default_value = "false", default_missing_value = "true", require_equals = true,
          action = ArgAction::Set)]
    pub role_base_arn_autodetect: bool,

    /// Which annotation of a namespace permits roles
    #[arg(long, value_enum, default_value = "permitted")]
    pub namespace_policy: NamespacePolicyArg,

    /// Let a namespace's expression match a part of a role's ARN
    #[arg(long, num_args = 0..=1, default_value = "false", default_missing_value = "true", require_equals = true,
          action = ArgAction::Set)]
    pub disable_strict_namespace_regexp: bool,

    /// Session name of pods that name none; sent with `kiam-` in front
    #[arg(long, value_name = "NAME", default_value = "kiam")]
    pub session: String,

    /// How long sessions live: 15m to 12h, at most 1h with --assume-role-arn
    #[arg(long, value_name = "DURATION", default_value = "60m", value_parser = parse_duration)]
    pub session_duration: Duration,

    /// How long before its end a session is renewed [default: half of --session-duration, at least 5m]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub session_refresh: Option<Duration>,

    /// Role that the server assumes before those of pods: an ARN or a name
    #[arg(long, value_name = "ROLE", default_value = "")]
    pub assume_role_arn: String,

    /// AWS region whose STS to ask; empty for the AWS SDK's own chain
    #[arg(long, value_name = "REGION", default_value = "")]
    pub region: String,

    /// How many calls to STS at once, and one more for a pod that waits
    #[arg(long, value_name = "COUNT", default_value = "8")]
    pub fetchers: usize,

    /// How many calls to STS a second; AWS takes 600 of each account and region, of everybody there together
    #[arg(long, value_name = "COUNT", default_value = "100")]
    pub sts_rate: u32,

    /// How many role sessions to keep
    #[arg(long, value_name = "COUNT", default_value = "10000")]
    pub cache_capacity: u64,

    /// How many pods may wait for their roles to be fetched ahead
    #[arg(long, value_name = "COUNT", default_value = "1000")]
    pub prefetch_buffer_size: usize,

    /// Close a connection that had no call for this long; 0 for never
    #[arg(long, value_name = "DURATION", default_value = "15m", value_parser = parse_duration)]
    pub grpc_max_connection_idle_duration: Duration,

    /// Close a connection that is this old; 0 for never
    #[arg(long, value_name = "DURATION", default_value = "15m", value_parser = parse_duration)]
    pub grpc_max_connection_age_duration: Duration,

    /// How long the calls of a connection that is being closed may still take; 0 for no limit
    #[arg(long, value_name = "DURATION", default_value = "15m", value_parser = parse_duration)]
    pub grpc_max_connection_age_grace_duration: Duration,
}

/// `--node-binding`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum NodeBindingArg {
    /// By the service account token that an agent sends (its --server-token-file)
    Token,
    /// By the address that an agent connects from: a pod's hostIP
    PeerIp,
    /// Not at all: an agent's certificate may ask for every pod
    Off,
}

/// `--namespace-policy`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum NamespacePolicyArg {
    /// `iam.amazonaws.com/permitted`: a regular expression
    Permitted,
    /// `iam.amazonaws.com/allowed-roles`: a JSON array of globs
    Kube2iam,
}
