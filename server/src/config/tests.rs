//! Each flag of the server: its default, what it sets, and what it refuses.

use std::time::Duration;

use kiam_common::args::{Invocation, try_parse_from};

use super::{BaseArnSource, Config, NamespacePolicySetting};
use crate::args::ServerArgs;
use crate::command::ServerCommand;
use crate::grpc::connection::Limits;
use crate::metrics::Costly;

const MINUTE: Duration = Duration::from_mins(1);
const BASE: &str = "--role-base-arn=arn:aws:iam::123456789012:role/";

/// The configuration that a command line gives, or the line that says what is wrong with it.
fn configured(flags: &[&str]) -> Result<Config, String> {
    let argv = ["kiam-server", "server", "--cert=c", "--key=k", "--ca=a"].into_iter().chain(flags.iter().copied());
    let invocation = try_parse_from::<Invocation<ServerArgs, ServerCommand>>("server", argv.map(Into::into));
    match invocation.map_err(|error| error.to_string())? {
        Invocation::Run(parsed) => Config::try_from(parsed).map_err(|error| error.to_string()),
        other => panic!("not asked for: {other:?}"),
    }
}

fn with(flags: &[&str]) -> Config {
    configured(&[&[BASE], flags].concat()).unwrap()
}

/// What is wrong with a command line: one line that names the flag.
fn wrong(flags: &[&str]) -> String {
    let line = configured(&[&[BASE], flags].concat()).unwrap_err();
    assert_eq!(line.lines().count(), 1, "{line}");
    let flag = flags.last().unwrap().split('=').next().unwrap();
    assert!(line.contains(flag), "{line} should name {flag}");
    line
}

#[test]
fn the_defaults_are_those_of_the_contract() {
    let config = with(&[]);
    assert_eq!(config.bind, "localhost:9610");
    assert_eq!(config.ops.prometheus_listen_addr, "localhost:9620");
    assert_eq!(config.kubeconfig, None);
    assert_eq!(config.costly, []);
    assert_eq!(config.namespace_policy, NamespacePolicySetting::Permitted { anchored: true });
    assert_eq!(config.session.as_str(), "kiam-kiam");
    assert_eq!((config.vault.session_duration, config.vault.session_refresh), (60 * MINUTE, 30 * MINUTE));
    assert_eq!((config.assume_role, config.region), (None, None));
    assert_eq!((config.vault.limits.at_once, config.vault.limits.per_second), (8, 100));
    assert_eq!((config.vault.prefetch_buffer, config.vault.capacity), (1000, 10_000));
    let expected = Limits {
        keepalive_time: Duration::from_secs(10),
        keepalive_timeout: Duration::from_secs(2),
        idle: 15 * MINUTE,
        age: 15 * MINUTE,
        age_grace: 15 * MINUTE,
    };
    assert_eq!(config.connections, expected);
}

#[test]
fn every_flag_is_taken() {
    let config = with(&[
        "--bind=0.0.0.0:443",
        "--prometheus-listen-addr=0.0.0.0:9620",
        "--kubeconfig=/etc/kubeconfig",
        "--metrics-enable=roles,nodes",
        "--peers=kiam-server:443,[fd00::1]:9610",
        "--sync=5m",
        "--session=cluster-1",
        "--session-duration=15m",
        "--session-refresh=5m",
        "--assume-role-arn=server",
        "--region=eu-west-1",
        "--fetchers=2",
        "--prefetch-buffer-size=3",
        "--sts-rate=4",
        "--cache-capacity=5",
        "--grpc-keepalive-time-duration=1m",
        "--grpc-keepalive-timeout-duration=3s",
        "--grpc-keepalive-permit-without-stream",
        "--grpc-max-connection-idle-duration=2m",
        "--grpc-max-connection-age-duration=3m",
        "--grpc-max-connection-age-grace-duration=4m",
    ]);
    assert_eq!(config.bind, "0.0.0.0:443");
    assert_eq!(config.kubeconfig.unwrap().to_str(), Some("/etc/kubeconfig"));
    assert_eq!(config.costly, [Costly::Roles, Costly::Nodes]);
    assert_eq!(config.peers.iter().map(ToString::to_string).collect::<Vec<_>>(), ["kiam-server:443", "[fd00::1]:9610"]);
    assert_eq!(config.keepalive.grpc_keepalive_time_duration, MINUTE);
    assert_eq!(config.session.as_str(), "kiam-cluster-1");
    assert_eq!((config.vault.session_duration, config.vault.session_refresh), (15 * MINUTE, 5 * MINUTE));
    assert_eq!(config.assume_role.as_deref(), Some("server"));
    assert_eq!(config.region.as_deref(), Some("eu-west-1"));
    assert_eq!((config.vault.limits.at_once, config.vault.limits.per_second), (2, 4));
    assert_eq!((config.vault.prefetch_buffer, config.vault.capacity), (3, 5));
    let expected = Limits {
        keepalive_time: MINUTE,
        keepalive_timeout: Duration::from_secs(3),
        idle: 2 * MINUTE,
        age: 3 * MINUTE,
        age_grace: 4 * MINUTE,
    };
    assert_eq!(config.connections, expected);
}

#[test]
fn exactly_one_source_of_the_base_arn_is_required() {
    assert!(configured(&[]).unwrap_err().contains("one of --role-base-arn and --role-base-arn-autodetect"));
    assert!(configured(&["--no-role-base-arn-autodetect"]).is_err());
    assert!(wrong(&["--role-base-arn-autodetect"]).contains("exclude each other"));
    assert_eq!(configured(&["--role-base-arn-autodetect"]).unwrap().base_arn, BaseArnSource::Autodetect);
    assert!(matches!(with(&["--no-role-base-arn-autodetect"]).base_arn, BaseArnSource::Given(_)));
    let line = configured(&["--role-base-arn=arn:aws:iam::1:role/"]).unwrap_err();
    assert!(line.contains("--role-base-arn") && line.contains("12-digit"), "{line}");
}

#[test]
fn the_namespace_policy_follows_its_flags() {
    let policy = |flags: &[&str]| with(flags).namespace_policy;
    let unanchored = NamespacePolicySetting::Permitted { anchored: false };
    assert_eq!(policy(&["--disable-strict-namespace-regexp"]), unanchored);
    assert_eq!(policy(&["--disable-strict-namespace-regexp=true"]), unanchored);
    assert_eq!(policy(&["--no-disable-strict-namespace-regexp"]), NamespacePolicySetting::Permitted { anchored: true });
    assert_eq!(policy(&["--namespace-policy=kube2iam"]), NamespacePolicySetting::Kube2iam);
    assert!(wrong(&["--namespace-policy=none"]).contains("kube2iam"));
}

#[test]
fn sessions_live_as_long_as_sts_grants() {
    for duration in ["15m", "12h"] {
        with(&[&format!("--session-duration={duration}")]);
    }
    for duration in ["14m59s", "12h1s", "0s", "forever"] {
        wrong(&[&format!("--session-duration={duration}")]);
    }
}

#[test]
fn sessions_of_a_server_that_assumes_a_role_itself_live_an_hour_at_most() {
    with(&["--assume-role-arn=server", "--session-duration=1h"]);
    assert!(wrong(&["--assume-role-arn=server", "--session-duration=61m"]).contains("role chaining"));
}

#[test]
fn the_refresh_is_half_of_the_duration_unless_given() {
    assert_eq!(with(&["--session-duration=15m"]).vault.session_refresh, Duration::from_secs(450));
    assert_eq!(with(&["--session-duration=4h"]).vault.session_refresh, 120 * MINUTE);
    assert_eq!(with(&["--session-duration=4h", "--session-refresh=10m"]).vault.session_refresh, 10 * MINUTE);
    assert!(wrong(&["--session-duration=15m", "--session-refresh=15m"]).contains("--session-duration"));
}

#[test]
fn counts_and_regions_must_make_sense() {
    for flag in ["--fetchers", "--prefetch-buffer-size", "--sts-rate", "--cache-capacity"] {
        for value in ["0", "-1", "many"] {
            wrong(&[&format!("{flag}={value}")]);
        }
    }
    wrong(&["--region=evil/host"]);
}

#[test]
fn a_startup_taint_is_a_key_and_needs_agents_that_are_bound_to_their_nodes() {
    let flag = "--startup-taint=example.com/agent-not-ready";
    for binding in ["--node-binding=token", "--node-binding=peer-ip"] {
        let taint = with(&[binding, flag]).startup_taint.unwrap();
        assert_eq!(taint.as_str(), "example.com/agent-not-ready");
    }
    for unbound in [&[flag][..], &["--node-binding=off", flag]] {
        assert!(wrong(unbound).contains("--node-binding=token or peer-ip"));
    }
    for none in [&[][..], &["--startup-taint="]] {
        assert_eq!(with(none).startup_taint, None);
    }
    assert!(wrong(&["--node-binding=token", "--startup-taint=a b"]).contains("expected a taint's key such as"));
}

#[test]
fn health_is_a_command_of_the_server_too() {
    let argv = ["kiam-server", "health", "--cert=c", "--key=k", "--ca=a", "--server-address=localhost:443"];
    let invocation = try_parse_from::<Invocation<ServerArgs, ServerCommand>>("server", argv.map(Into::into));
    assert!(matches!(invocation, Ok(Invocation::Health(_))));
}
