//! What the server is to do: the flags, checked against each other. [`crate::app`] takes nothing else.

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::Duration;

use kiam_common::args::{HostPort, KeepaliveArgs, OpsArgs, TlsArgs};
use kiam_common::role::SessionName;

use crate::args::{NamespacePolicyArg, NodeBindingArg, ServerArgs};
use crate::grpc::connection::Limits;
use crate::metrics::Costly;
use crate::role::resolver::BaseArn;
use crate::startup_taint::TaintKey;
use crate::vault::{Limits as VaultLimits, Settings};

/// The sessions that STS gives at all.
const SESSION_DURATIONS: std::ops::RangeInclusive<Duration> = Duration::from_mins(15)..=Duration::from_hours(12);
/// The longest that STS gives to who has assumed a role already ("role chaining").
const LONGEST_CHAINED_SESSION: Duration = Duration::from_hours(1);
/// The least default of `--session-refresh`.
const LEAST_REFRESH: Duration = Duration::from_mins(5);

/// How long STS may take for an answer. Pods wait less long; what comes late is there when they ask again.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(8);

/// A valid configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where agents connect: `host:port`, or Go's `:port`.
    pub bind: String,
    /// The listeners for operators.
    pub ops: OpsArgs,
    /// Series that are shown beside the usual ones.
    pub costly: Vec<Costly>,
    /// The files of the gRPC identity and trust.
    pub tls: TlsArgs,
    /// How long connections live.
    pub connections: Limits,
    /// Where the other servers are.
    pub peers: Vec<HostPort>,
    /// How connections to them are probed.
    pub keepalive: KeepaliveArgs,
    /// Kubernetes configuration file; none inside a cluster.
    pub kubeconfig: Option<PathBuf>,
    /// How agents are bound to their nodes.
    pub node_binding: NodeBindingSetting,
    /// The taint that nodes lose once their agent is at work.
    pub startup_taint: Option<TaintKey>,
    /// What goes in front of role names.
    pub base_arn: BaseArnSource,
    /// Which annotation of a namespace permits roles, and how.
    pub namespace_policy: NamespacePolicySetting,
    /// The session name of pods that name none.
    pub session: SessionName,
    /// The role that the server assumes first: a name or an ARN.
    pub assume_role: Option<String>,
    /// The AWS region whose STS to ask; none for the AWS SDK's own chain.
    pub region: Option<String>,
    /// How credentials are fetched, kept and renewed.
    pub vault: Settings,
}

/// Where the base ARN comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BaseArnSource {
    /// `--role-base-arn`
    Given(BaseArn),
    /// `--role-base-arn-autodetect`
    Autodetect,
}

/// `--node-binding` and `--token-audience`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeBindingSetting {
    /// By their service account tokens.
    Token {
        /// For whom these must be made.
        audience: String,
    },
    /// By the address that they connect from.
    PeerIp,
    /// Not at all.
    Off,
}

/// `--namespace-policy` and `--disable-strict-namespace-regexp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamespacePolicySetting {
    /// Kiam's expression.
    Permitted {
        /// It must match the whole ARN.
        anchored: bool,
    },
    /// kube2iam's globs.
    Kube2iam,
}

/// A flag, or two together, that make no sense. One line that names them and what was expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(String);

impl TryFrom<ServerArgs> for Config {
    type Error = ConfigError;

    fn try_from(args: ServerArgs) -> Result<Self, ConfigError> {
        let base_arn = base_arn(&args)?;
        let session_duration = session_duration(&args)?;
        let session_refresh = session_refresh(&args)?;
        let node_binding = node_binding(&args)?;
        let startup_taint = startup_taint(&args)?;
        Ok(Self {
            base_arn,
            node_binding,
            startup_taint,
            vault: Settings {
                session_duration,
                session_refresh,
                capacity: at_least_one("--cache-capacity", args.cache_capacity)?,
                prefetch_buffer: at_least_one("--prefetch-buffer-size", args.prefetch_buffer_size)?,
                limits: VaultLimits {
                    at_once: at_least_one("--fetchers", args.fetchers)?,
                    per_second: at_least_one("--sts-rate", args.sts_rate)?,
                },
                attempt_timeout: ATTEMPT_TIMEOUT,
            },
            region: region(&args.region)?,
            namespace_policy: match args.namespace_policy {
                NamespacePolicyArg::Permitted => {
                    NamespacePolicySetting::Permitted { anchored: !args.disable_strict_namespace_regexp }
                }
                NamespacePolicyArg::Kube2iam => NamespacePolicySetting::Kube2iam,
            },
            session: SessionName::from_text(&args.session),
            assume_role: (!args.assume_role_arn.is_empty()).then_some(args.assume_role_arn),
            kubeconfig: (!args.kubeconfig.is_empty()).then(|| args.kubeconfig.into()),
            bind: args.bind,
            peers: args.peers,
            ops: args.ops,
            costly: args.metrics_enable,
            tls: args.tls,
            connections: Limits {
                keepalive_time: args.keepalive.grpc_keepalive_time_duration,
                keepalive_timeout: args.keepalive.grpc_keepalive_timeout_duration,
                idle: args.grpc_max_connection_idle_duration,
                age: args.grpc_max_connection_age_duration,
                age_grace: args.grpc_max_connection_age_grace_duration,
            },
            keepalive: args.keepalive,
        })
    }
}

fn base_arn(args: &ServerArgs) -> Result<BaseArnSource, ConfigError> {
    match (&args.role_base_arn, args.role_base_arn_autodetect) {
        (Some(base), false) => Ok(BaseArnSource::Given(base.clone())),
        (None, true) => Ok(BaseArnSource::Autodetect),
        (None, false) => Err(ConfigError("one of --role-base-arn and --role-base-arn-autodetect is required".into())),
        (Some(_), true) => Err(ConfigError("--role-base-arn and --role-base-arn-autodetect exclude each other".into())),
    }
}

fn node_binding(args: &ServerArgs) -> Result<NodeBindingSetting, ConfigError> {
    match args.node_binding {
        NodeBindingArg::Off => Ok(NodeBindingSetting::Off),
        NodeBindingArg::PeerIp => Ok(NodeBindingSetting::PeerIp),
        NodeBindingArg::Token if args.token_audience.is_empty() => Err(ConfigError(
            "--token-audience: \"\" is not valid: expected the audience that agents' tokens are made for".into(),
        )),
        NodeBindingArg::Token => Ok(NodeBindingSetting::Token { audience: args.token_audience.clone() }),
    }
}

fn startup_taint(args: &ServerArgs) -> Result<Option<TaintKey>, ConfigError> {
    let text = &args.startup_taint;
    if text.is_empty() {
        return Ok(None);
    }
    let key = text.parse().map_err(|error| ConfigError(format!("--startup-taint: {text:?} is not valid: {error}")))?;
    if args.node_binding == NodeBindingArg::Off {
        return Err(ConfigError(format!(
            "--startup-taint: {text:?} is not valid with --node-binding=off, where every agent's certificate could free \
             every node of its taint: expected --node-binding=token or peer-ip"
        )));
    }
    Ok(Some(key))
}

fn session_duration(args: &ServerArgs) -> Result<Duration, ConfigError> {
    let duration = args.session_duration;
    if !SESSION_DURATIONS.contains(&duration) {
        return Err(ConfigError(format!("--session-duration: {duration:?} is not valid: expected 15m to 12h")));
    }
    if !args.assume_role_arn.is_empty() && duration > LONGEST_CHAINED_SESSION {
        return Err(ConfigError(format!(
            "--session-duration: {duration:?} is not valid with --assume-role-arn: expected at most 1h, \
             the most that AWS gives to a role that assumes another (role chaining)"
        )));
    }
    Ok(duration)
}

fn session_refresh(args: &ServerArgs) -> Result<Duration, ConfigError> {
    let duration = args.session_duration;
    let refresh = args.session_refresh.unwrap_or_else(|| LEAST_REFRESH.max(duration / 2));
    if refresh >= duration {
        return Err(ConfigError(format!(
            "--session-refresh: {refresh:?} is not valid: expected less than --session-duration, which is {duration:?}"
        )));
    }
    Ok(refresh)
}

fn region(text: &str) -> Result<Option<String>, ConfigError> {
    // It becomes a part of the endpoint's host name.
    if !text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
        return Err(ConfigError(format!("--region: {text:?} is not valid: expected a region such as eu-west-1")));
    }
    Ok((!text.is_empty()).then(|| text.to_owned()))
}

fn at_least_one<N: Default + PartialEq>(flag: &str, count: N) -> Result<N, ConfigError> {
    if count == N::default() {
        Err(ConfigError(format!("{flag}: 0 is not valid: expected at least 1")))
    } else {
        Ok(count)
    }
}
