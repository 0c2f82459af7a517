//! The agent's flags, with Kiam's names and defaults; `config.rs` makes values of them.

mod digest;
mod intercept;
mod limits;
mod supply;

use std::net::IpAddr;

use clap::{ArgAction, Parser};
pub(crate) use intercept::{AgentInvocation, InterceptArgs, InterceptCommand};
use kiam_common::args::{LogArgs, OpsArgs, ServerAddressArgs, TlsArgs};
use limits::LimitArgs;
pub(crate) use supply::SupplyArgs;

use crate::http::allowed::{Preset, RouteExpression};
use crate::http::token::Tokens;
use crate::metadata::Endpoint;

/// Answers the AWS credential requests of the pods on its node
#[derive(Clone, Debug, Parser)]
#[command(name = "kiam-agent", version = kiam_common::VERSION)]
pub(crate) struct AgentArgs {
    #[command(flatten)]
    pub(crate) log: LogArgs,

    #[command(flatten)]
    pub(crate) ops: OpsArgs,

    #[command(flatten)]
    pub(crate) tls: TlsArgs,

    #[command(flatten)]
    pub(crate) server: ServerAddressArgs,

    /// File with the agent's service account token for servers that bind agents to their nodes; empty sends none
    #[arg(long, value_name = "FILE", default_value = "")]
    pub(crate) server_token_file: String,

    #[command(flatten)]
    pub(crate) supply: SupplyArgs,

    /// Port that pods' metadata requests are answered on; 0 takes any free one
    #[arg(long, value_name = "PORT", default_value = "3100")]
    pub(crate) port: u16,

    /// Address that the port is opened on; default: the addresses of --host where the agent intercepts, else 0.0.0.0
    #[arg(long, value_name = "IP", value_parser = parse_ip)]
    pub(crate) bind: Option<IpAddr>,

    #[command(flatten)]
    pub(crate) intercept: InterceptArgs,

    /// Let ?ip= choose the pod that a request is for; for development only
    #[arg(long, num_args = 0..=1, default_value = "false", default_missing_value = "true", require_equals = true,
          action = ArgAction::Set)]
    pub(crate) allow_ip_query: bool,

    /// Metadata paths that pods may read from the instance metadata service; the whole path must match
    #[arg(long, alias = "whitelist-route-regexp", value_name = "REGEXP", default_value = "^$",
          value_parser = RouteExpression::parse)]
    pub(crate) allow_route_regexp: RouteExpression,

    /// Sets of metadata paths that pods may read beside those of --allow-route-regexp
    #[arg(long, value_enum, value_delimiter = ',', value_name = "SET[,SET]")]
    pub(crate) allow_routes: Vec<Preset>,

    /// Let pods read the node's user data, which no other flag opens
    #[arg(long, num_args = 0..=1, default_value = "false", default_missing_value = "true", require_equals = true,
          action = ArgAction::Set)]
    pub(crate) allow_user_data: bool,

    /// Whether pods must present session tokens (`IMDSv2`)
    #[arg(long, value_enum, default_value = "optional")]
    pub(crate) imds_tokens: Tokens,

    #[command(flatten)]
    pub(crate) limits: LimitArgs,

    /// The instance metadata service behind the agent; default also from `AWS_EC2_METADATA_SERVICE_ENDPOINT`
    #[arg(long, value_name = "URL", default_value = metadata_endpoint(), value_parser = Endpoint::parse)]
    pub(crate) metadata_endpoint: Endpoint,
}

/// Where AWS SDKs are told to find the service, so that the agent finds it there too.
fn metadata_endpoint() -> String {
    let given = std::env::var("AWS_EC2_METADATA_SERVICE_ENDPOINT").ok();
    given.filter(|endpoint| !endpoint.is_empty()).unwrap_or_else(|| "http://169.254.169.254".into())
}

fn parse_ip(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| "expected an IP address of this machine, such as 0.0.0.0 or ::".into())
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::time::Duration;

    use kiam_common::args::{Invocation, parse};

    use super::*;
    use crate::config::Config;

    const TLS: &str = "--cert=c --key=k --ca=a";

    fn read(flags: &str, variables: &[(&str, &str)]) -> Result<AgentArgs, String> {
        let argv = std::iter::once("kiam").chain(flags.split_whitespace()).map(OsString::from);
        let variable = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into());
        parse("agent", argv, &variable).map_err(|error| error.to_string())
    }

    fn config(flags: &str) -> Config {
        read(&format!("{TLS} {flags}"), &[]).unwrap().try_into().unwrap()
    }

    #[test]
    fn the_defaults_are_kiams() {
        let config = config("--metadata-endpoint=http://169.254.169.254");
        assert_eq!(config.listen.to_string(), "0.0.0.0:3100");
        assert!(config.interception.is_none());
        assert!(!config.allow_ip_query);
        assert_eq!(config.server.server_address.to_string(), "localhost:9610");
        assert_eq!(config.server.gateway_timeout_creation, Duration::from_secs(1));
        assert_eq!(config.ops.prometheus_listen_addr, "localhost:9620");
    }

    #[test]
    fn every_flag_of_kiams_agent_is_taken() {
        let flags = format!(
            "agent {TLS} --json-log --level=warn --prometheus-listen-addr=:9620 --prometheus-sync-interval=10s \
             --pprof-listen-addr=:9990 --port=8181 --allow-ip-query --whitelist-route-regexp=^/latest/.* \
             --server-address=kiam-server:443 --server-address-refresh=0s --gateway-timeout-creation=2s \
             --grpc-keepalive-time-duration=20s --grpc-keepalive-timeout-duration=3s \
             --grpc-keepalive-permit-without-stream --iptables --iptables-remove --host=10.0.0.1 --host-interface=cali+"
        );
        let config = Config::try_from(read(&flags, &[]).unwrap()).unwrap();
        assert_eq!(config.listen.to_string(), "10.0.0.1:8181");
        assert!(config.interception.as_ref().unwrap().remove_at_exit);
        assert!(config.allow_ip_query && config.server.keepalive.grpc_keepalive_permit_without_stream);
        assert_eq!(config.server.server_address.to_string(), "kiam-server:443");
    }

    #[test]
    fn flags_are_variables_too() {
        let variables =
            [("KIAM_PORT", "8181"), ("KIAM_ALLOW_IP_QUERY", "true"), ("KIAM_METADATA_ENDPOINT", "http://127.0.0.1:1")];
        let args = read(TLS, &variables).unwrap();
        assert_eq!(args.port, 8181);
        assert!(args.allow_ip_query);
        assert_eq!(args.metadata_endpoint, Endpoint::parse("http://127.0.0.1:1").unwrap());
        assert!(!read(&format!("{TLS} --no-allow-ip-query"), &variables).unwrap().allow_ip_query);
    }

    #[test]
    fn sets_of_routes_are_named_in_one_flag_or_variable() {
        let sets = [Preset::Spot, Preset::InstanceIdentity];
        assert_eq!(config("--allow-routes=spot,instance-identity").allowed_routes.presets, sets);
        let by_variable = read(TLS, &[("KIAM_ALLOW_ROUTES", "spot,instance-identity")]).unwrap();
        assert_eq!(by_variable.allow_routes, sets);
        assert_eq!(config("").allowed_routes.presets, []);
    }

    #[test]
    fn what_is_wrong_is_told_in_one_line_with_flag_and_value() {
        for (flags, words) in [
            ("--port=70000", ["--port", "70000"]),
            ("--bind=nowhere", ["--bind", "nowhere"]),
            ("--allow-route-regexp=(", ["--allow-route-regexp", "("]),
            ("--allow-routes=spot,iam", ["--allow-routes", "iam"]),
            ("--allow-routes=user-data", ["--allow-routes", "user-data"]),
            ("--imds-tokens=v2", ["--imds-tokens", "required"]),
            ("--metadata-endpoint=169.254.169.254", ["--metadata-endpoint", "expected http://host"]),
            ("--server-address=kiam-server", ["--server-address", "kiam-server"]),
            ("--allow-ip-query=maybe", ["--allow-ip-query", "maybe"]),
            ("--intercept=ebpf", ["--intercept", "nftables"]),
            ("--host=node-1", ["--host", "node-1"]),
            ("--host-interface=eth0;", ["--host-interface", "eth0;"]),
        ] {
            let error = read(&format!("{TLS} {flags}"), &[]).unwrap_err();
            assert!(words.iter().all(|word| error.contains(word)) && !error.trim_end().contains('\n'), "{error}");
        }
        for missing in ["--cert=c --key=k", "--cert=c --ca=a", "--key=k --ca=a"] {
            assert!(read(missing, &[]).is_err(), "{missing}");
        }
    }

    #[test]
    fn how_the_agent_is_supplied_is_told_by_flags() {
        let stream = config("--node-name=node-1.example --max-stale=3s").stream.unwrap();
        assert_eq!((stream.node.as_str(), stream.max_stale), ("node-1.example", Duration::from_secs(3)));
        let stream = config("").stream.unwrap();
        assert_eq!(stream.max_stale, Duration::from_secs(10));
        assert!(!stream.node.is_empty(), "the machine's name");
        assert!(config("--no-push").stream.is_none());
    }

    #[test]
    fn the_digest_tells_agents_apart_that_are_set_up_differently_and_no_others() {
        let digest = |flags: &str| read(&format!("{TLS} {flags}"), &[]).unwrap().digest();
        let one = digest("--node-name=node-1 --host=10.0.0.1 --bind=10.0.0.1 --intercept=nftables");
        assert_eq!(one, digest("--node-name=node-2 --host=10.0.0.2 --intercept=nftables"));
        for other in ["", "--intercept=nftables --max-stale=9s", "--intercept=nftables --allow-route-regexp=/x"] {
            assert_ne!(one, digest(other), "{other}");
        }
    }

    #[test]
    fn health_has_flags_of_its_own() {
        let argv = ["kiam", "health", "--cert=c", "--key=k", "--ca=a", "--timeout=5s"].map(OsString::from);
        let invocation: Invocation<AgentArgs> = parse("agent", argv, &|_| None).unwrap();
        assert!(matches!(invocation, Invocation::Health(_)));
    }
}
