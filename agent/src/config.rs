//! The agent's configuration: values that need no more checking. Made of the flags here, used by `app.rs`; tests
//! and the sandbox may make one as well.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use kiam_common::args::{OpsArgs, ServerAddressArgs, TlsArgs};

use crate::args::{AgentArgs, SupplyArgs};
use crate::error::StartError;
pub use crate::http::allowed::{AllowedRoutes, Preset, RouteExpression};
pub use crate::http::peers::Limits;
pub use crate::http::token::Tokens;
pub use crate::intercept::{Hosts, Interception, Interfaces, Method, Plan};
pub use crate::metadata::Endpoint;

/// All that an agent is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where pods' metadata requests arrive; port 0 is any free one.
    pub listen: SocketAddr,
    /// Where those of the other IP version arrive, if anywhere else.
    pub also_listen: Option<SocketAddr>,
    /// The rules that bring them there, if the agent keeps them.
    pub interception: Option<Interception>,
    /// Whether `?ip=` chooses the pod: for development only.
    pub allow_ip_query: bool,
    /// The paths that are passed on to the instance metadata service.
    pub allowed_routes: AllowedRoutes,
    /// Whether pods must present session tokens.
    pub tokens: Tokens,
    /// How much of the agent pods may take.
    pub limits: Limits,
    /// The instance metadata service behind the agent.
    pub metadata_endpoint: Endpoint,
    /// Where the servers are.
    pub server: ServerAddressArgs,
    /// The service account token that is sent to them, if one is.
    pub server_token_file: Option<PathBuf>,
    /// The stream that supplies the agent; none asks them for each request.
    pub stream: Option<Stream>,
    /// The agent's identity and whom it trusts.
    pub tls: TlsArgs,
    /// The metrics listener.
    pub ops: OpsArgs,
}

/// What there is to know for a stream.
#[derive(Clone, Debug)]
pub struct Stream {
    /// The node's name in Kubernetes.
    pub node: String,
    /// How long what a lost stream has said counts, where nothing else speaks for it.
    pub max_stale: Duration,
    /// Tells agents that are set up differently apart.
    pub config_hash: String,
}

impl TryFrom<AgentArgs> for Config {
    type Error = StartError;

    fn try_from(args: AgentArgs) -> Result<Self, StartError> {
        let interception = args.intercept.interception(args.port).map_err(StartError::Flags)?;
        let (first, second) = bound(args.bind, interception.as_ref()).map_err(StartError::Flags)?;
        let config_hash = args.digest();
        let SupplyArgs { push, node_name: node, max_stale } = args.supply;
        let with_port = |address| SocketAddr::new(address, args.port);
        Ok(Self {
            listen: with_port(first),
            also_listen: second.map(with_port),
            interception,
            allow_ip_query: args.allow_ip_query,
            allowed_routes: AllowedRoutes {
                presets: args.allow_routes,
                expression: args.allow_route_regexp,
                user_data: args.allow_user_data,
            },
            tokens: args.imds_tokens,
            limits: args.limits.into(),
            metadata_endpoint: args.metadata_endpoint,
            server: args.server,
            server_token_file: (!args.server_token_file.is_empty()).then(|| args.server_token_file.into()),
            stream: push.then_some(Stream { node, max_stale, config_hash }),
            tls: args.tls,
            ops: args.ops,
        })
    }
}

/// Where to listen: where intercepted requests are sent, and nowhere else, unless told otherwise.
fn bound(bind: Option<IpAddr>, interception: Option<&Interception>) -> Result<(IpAddr, Option<IpAddr>), String> {
    let mut hosts = interception.into_iter().flat_map(Interception::hosts);
    let Some(bind) = bind else {
        let first = hosts.next().unwrap_or(Ipv4Addr::UNSPECIFIED.into());
        return Ok((first, hosts.next()));
    };
    let answers = |host: &IpAddr| *host == bind || bind.is_unspecified() && (bind.is_ipv6() || host.is_ipv4());
    match hosts.find(|host| !answers(host)) {
        Some(host) => Err(format!("--bind: \"{bind}\" is not valid: expected one that {host} of --host belongs to")),
        None => Ok((bind, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::InterceptArgs;

    fn listening(given: Option<&str>, hosts: &str) -> Result<String, String> {
        let interception = InterceptArgs::nftables(hosts).interception(3100).unwrap();
        let (first, second) = bound(given.map(|bind| bind.parse().unwrap()), interception.as_ref())?;
        Ok(format!("{first} {}", second.map(|second| second.to_string()).unwrap_or_default()))
    }

    #[test]
    fn an_agent_that_intercepts_listens_where_requests_are_sent() {
        assert_eq!(listening(None, "fd00::1,10.0.0.1").unwrap(), "10.0.0.1 fd00::1");
        assert_eq!(listening(None, "fd00::1").unwrap(), "fd00::1 ");
        assert_eq!(listening(Some("::"), "10.0.0.1,fd00::1").unwrap(), ":: ");
        assert_eq!(listening(Some("0.0.0.0"), "10.0.0.1").unwrap(), "0.0.0.0 ");
        assert_eq!(bound(None, None).unwrap(), (Ipv4Addr::UNSPECIFIED.into(), None));
    }

    #[test]
    fn an_address_that_no_request_is_sent_to_is_refused() {
        for (bind, hosts) in [("127.0.0.1", "10.0.0.1"), ("0.0.0.0", "fd00::1"), ("10.0.0.1", "10.0.0.1,fd00::1")] {
            let error = listening(Some(bind), hosts).unwrap_err();
            assert!(error.starts_with("--bind: ") && error.contains(bind), "{error}");
        }
    }
}
