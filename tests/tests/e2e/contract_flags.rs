//! Every flag of the contract is taken, from the command line and from its variable; whatever is wrong with one ends
//! the program at once, with exit code 2 and one line that names the flag, the value and what was expected.

use std::fs;

use kiam_tests::real::program::Invocation;

use crate::emulated::Emulated;
use crate::world::{BASE_ARN, PROGRAMS, wait_until_ready, with_identity};

/// A flag, a value that it does not take, and words out of what is said about it.
type Wrong = (&'static str, &'static str, &'static str);

const DURATION: &str = "a duration such as";
const SWITCH: &str = "true, false";

const SHARED: [Wrong; 15] = [
    ("--json-log", "perhaps", SWITCH),
    ("--level", "loud", "debug, info, warn, error"),
    ("--prometheus-listen-addr", "nowhere", "expected host:port"),
    ("--prometheus-sync-interval", "soon", DURATION),
    ("--pprof-listen-addr", "nowhere", "expected host:port"),
    ("--metrics-path", "metrics", "expected a path"),
    ("--metrics-tls-cert", "/nowhere/tls.crt", "expected --metrics-tls-key"),
    ("--metrics-tls-key", "/nowhere/tls.key", "expected --metrics-tls-cert"),
    ("--metrics-client-ca", "/nowhere/ca.crt", "expected --metrics-tls-cert"),
    ("--metrics-auth", "everybody", "none, kubernetes"),
    ("--cert", "/nowhere/tls.crt", "expected a PEM"),
    ("--key", "/nowhere/tls.key", "expected a PEM"),
    ("--ca", "/nowhere/ca.crt", "expected PEM"),
    ("--grpc-keepalive-time-duration", "soon", DURATION),
    ("--grpc-keepalive-timeout-duration", "soon", DURATION),
];

const TO_SERVERS: [Wrong; 4] = [
    ("--server-address", "nowhere", "host:port"),
    ("--server-address-refresh", "soon", DURATION),
    ("--gateway-timeout-creation", "soon", DURATION),
    ("--grpc-keepalive-permit-without-stream", "perhaps", SWITCH),
];

const AGENT: [Wrong; 15] = [
    ("--server-token-file", "/nowhere/token", "expected a service account token"),
    ("--port", "70000", "0..=65535"),
    ("--bind", "nowhere", "expected"),
    ("--allow-ip-query", "perhaps", SWITCH),
    ("--allow-route-regexp", "(", "expected"),
    ("--allow-routes", "iam", "instance-identity"),
    ("--allow-user-data", "perhaps", SWITCH),
    ("--imds-tokens", "v2", "optional, required"),
    ("--max-connections", "0", "expected 1 to"),
    ("--max-connections-per-pod", "many", "expected 1 to"),
    ("--max-requests-per-pod", "0", "expected 1 to"),
    ("--metadata-endpoint", "ftp://imds", "expected http://host"),
    ("--push", "perhaps", SWITCH),
    ("--node-name", "Node_1", "expected the name of a Kubernetes node"),
    ("--max-stale", "soon", DURATION),
];

const SERVER: [Wrong; 23] = [
    ("--bind", "nowhere", "expected host:port"),
    ("--node-binding", "certificate", "token, peer-ip, off"),
    ("--startup-taint", "a b", "expected a taint's key"),
    ("--kubeconfig", "/nowhere/kubeconfig", "expected"),
    ("--metrics-enable", "pods", "roles, namespaces, nodes"),
    ("--peers", "kiam-server", "host:port"),
    ("--sync", "soon", DURATION),
    ("--role-base-arn", "reader", "expected"),
    ("--role-base-arn-autodetect", "perhaps", SWITCH),
    ("--disable-strict-namespace-regexp", "perhaps", SWITCH),
    ("--namespace-policy", "anything", "permitted, kube2iam"),
    ("--session-duration", "899s", "15m to 12h"),
    ("--session-duration", "43201s", "15m to 12h"),
    ("--session-refresh", "3600s", "less than --session-duration"),
    ("--assume-role-arn", "arn:aws:s3:::bucket", "expected"),
    ("--region", "Ireland", "expected a region"),
    ("--fetchers", "0", "at least 1"),
    ("--prefetch-buffer-size", "0", "at least 1"),
    ("--sts-rate", "0", "at least 1"),
    ("--cache-capacity", "0", "at least 1"),
    ("--grpc-max-connection-idle-duration", "soon", DURATION),
    ("--grpc-max-connection-age-duration", "soon", DURATION),
    ("--grpc-max-connection-age-grace-duration", "soon", DURATION),
];

/// Runs the program with the flag wrong, on the command line and in the environment.
fn assert_refused(program: &Invocation, wrong: &[Wrong]) {
    for (flag, value, expectation) in wrong {
        let variable = format!("KIAM_{}", flag.trim_start_matches("--").to_uppercase().replace('-', "_"));
        let by_flag = program.clone().flag(flag, value);
        let by_variable = program.clone().without(flag).env(&variable, value);
        for program in [by_flag, by_variable] {
            let (code, said) = program.run();
            assert_eq!(code, 2, "{flag}={value}: {said}");
            assert_eq!(said.lines().count(), 1, "{flag}={value}: {said}");
            for part in [flag, value, expectation] {
                assert!(said.contains(part), "{flag}={value}: {part:?} is not in {said}");
            }
        }
    }
}

#[tokio::test]
async fn an_agent_with_a_wrong_flag_says_so_and_ends() {
    let around = Emulated::start().await;
    let agent = around.agent("127.0.0.1:1");
    assert_refused(&agent, &SHARED);
    assert_refused(&agent, &TO_SERVERS);
    assert_refused(&agent, &AGENT);
}

#[tokio::test]
async fn a_server_with_a_wrong_flag_says_so_and_ends() {
    let around = Emulated::start().await;
    assert_refused(&around.server(), &SHARED);
    assert_refused(&around.server(), &SERVER);
}

#[tokio::test]
async fn a_health_check_with_a_wrong_flag_says_so_and_ends() {
    let around = Emulated::start().await;
    for words in [&["agent", "health"], &["server", "health"]] {
        let health = with_identity(Invocation::new(PROGRAMS, words), &around.identities.agent);
        assert_refused(&health, &TO_SERVERS);
        assert_refused(&health, &[("--timeout", "soon", DURATION)]);
    }
}

#[tokio::test]
async fn a_command_with_a_wrong_flag_says_so_and_ends() {
    let around = Emulated::start().await;
    let files: Vec<_> = SHARED.into_iter().filter(|(flag, ..)| matches!(*flag, "--cert" | "--key" | "--ca")).collect();
    for words in [&["server", "explain", "apps/reader"][..], &["server", "status"]] {
        let command = with_identity(Invocation::new(PROGRAMS, words), &around.identities.agent);
        assert_refused(&command, &files);
        assert_refused(&command, &TO_SERVERS);
        assert_refused(&command, &[("--timeout", "soon", DURATION), ("--json", "perhaps", SWITCH)]);
    }
    let explain = |words| with_identity(Invocation::new(PROGRAMS, words), &around.identities.agent);
    assert_refused(&explain(&["server", "explain"]), &[("--ip", "nowhere", "IP address")]);
    for (words, wrong) in [
        (&["server", "explain"][..], "NAMESPACE/POD"),
        (&["server", "explain", "reader"], "expected <namespace>/<pod>"),
        (&["server", "explain", "a/b", "--ip=10.0.0.1"], "--ip"),
    ] {
        let (code, said) = explain(words).run();
        assert!((code, said.lines().count()) == (2, 1) && said.contains(wrong), "{said}");
    }
    let doctor = with_identity(Invocation::new(PROGRAMS, &["agent", "doctor"]), &around.identities.agent);
    assert_refused(&doctor, &[("--timeout", "soon", DURATION), ("--json", "perhaps", SWITCH), AGENT[1], AGENT[11]]);
    let out = around.logs.path().join("certs");
    let generate = Invocation::new(PROGRAMS, &["server", "certs", "generate"]).flag("--out", out.display());
    let days = "expected 1 to 3650";
    assert_refused(&generate, &[("--days", "0", days), ("--days", "soon", days), ("--server-name", "a b", "DNS name")]);
    let kubeconfig = around.logs.path().join("kubeconfig");
    let preflight = Invocation::new(PROGRAMS, &["server", "preflight"]).flag("--kubeconfig", kubeconfig.display());
    let preflight = preflight.flag("--role-base-arn", BASE_ARN);
    assert_refused(
        &preflight,
        &[
            ("--kubeconfig", "/nowhere/kubeconfig", "expected"),
            ("--role-base-arn", "reader", "expected"),
            ("--disable-strict-namespace-regexp", "perhaps", SWITCH),
            ("--json", "perhaps", SWITCH),
        ],
    );
    for (command, flag) in [(generate, "--out"), (preflight, "--role-base-arn")] {
        let (code, said) = command.without(flag).run();
        assert!((code, said.lines().count()) == (2, 1) && said.contains(flag), "{said}");
    }
}

#[tokio::test]
async fn flags_that_exclude_or_need_each_other_are_told_together() {
    let around = Emulated::start().await;
    for (server, words) in [
        (around.server().without("--role-base-arn"), "one of --role-base-arn and --role-base-arn-autodetect"),
        (around.server().flag("--role-base-arn-autodetect", true), "exclude each other"),
        (around.server().flag("--assume-role-arn", "first").flag("--session-duration", "2h"), "at most 1h"),
        (around.server().flag("--node-binding", "token").flag("--token-audience", ""), "--token-audience"),
        (around.server().flag("--startup-taint", "example.com/new"), "expected --node-binding=token or peer-ip"),
        (around.server().flag("--nonsense", 1), "--nonsense"),
        (around.server().without("--cert"), "--cert"),
    ] {
        let (code, said) = server.run();
        assert_eq!((code, said.lines().count()), (2, 1), "{said}");
        assert!(said.contains(words), "{words:?} is not in {said}");
    }
}

/// Every flag of the server that is not about who it is and where it listens, with a value that is not its default.
fn every_flag_of_a_server(server: Invocation) -> Invocation {
    server
        .flag("--prometheus-sync-interval", "1s")
        .flag("--pprof-listen-addr", "127.0.0.1:0")
        .flag("--metrics-path", "/kiam/metrics")
        .flag("--metrics-auth", "kubernetes")
        .flag("--metrics-enable", "roles,nodes")
        .flag("--peers", "localhost:1,[::1]:1")
        .flag("--sync", "5m")
        .flag("--node-binding", "peer-ip")
        .flag("--token-audience", "kiam-server.cluster-a")
        .flag("--startup-taint", "example.com/agent-not-ready")
        .flag("--role-base-arn-autodetect", false)
        .flag("--disable-strict-namespace-regexp", true)
        .flag("--namespace-policy", "permitted")
        .flag("--session", "cluster-a")
        .flag("--session-duration", "30m")
        .flag("--session-refresh", "5m")
        .flag("--assume-role-arn", "arn:aws:iam::123456789012:role/kiam-server")
        .flag("--fetchers", 20)
        .flag("--prefetch-buffer-size", 10)
        .flag("--sts-rate", 50)
        .flag("--cache-capacity", 500)
        .flag("--grpc-keepalive-time-duration", "1m")
        .flag("--grpc-keepalive-timeout-duration", "10s")
        .flag("--grpc-max-connection-idle-duration", "1m30s")
        .flag("--grpc-max-connection-age-duration", "1h")
        .flag("--grpc-max-connection-age-grace-duration", "500ms")
}

fn every_flag_of_an_agent(agent: Invocation) -> Invocation {
    agent
        .flag("--prometheus-sync-interval", "1s")
        .flag("--pprof-listen-addr", "127.0.0.1:0")
        .flag("--metrics-path", "/kiam/metrics")
        .flag("--metrics-auth", "kubernetes")
        .flag("--allow-ip-query", true)
        .flag("--allow-route-regexp", "/latest/dynamic/.*")
        .flag("--allow-routes", "spot,placement")
        .flag("--allow-user-data", true)
        .flag("--imds-tokens", "required")
        .flag("--max-connections", 500)
        .flag("--max-connections-per-pod", 50)
        .flag("--max-requests-per-pod", 20)
        .flag("--server-address-refresh", "1m")
        .flag("--gateway-timeout-creation", "2s")
        .flag("--grpc-keepalive-time-duration", "1m")
        .flag("--grpc-keepalive-timeout-duration", "10s")
        .flag("--grpc-keepalive-permit-without-stream", true)
}

#[tokio::test]
async fn every_flag_is_taken_from_the_command_line_and_from_its_variable() {
    let around = Emulated::start().await;
    let server = every_flag_of_a_server(around.server());
    let token = around.logs.path().join("token").display().to_string();
    fs::write(&token, "a.b.c").expect("the token can be written");
    for server in [server.clone(), server.by_environment()] {
        let server = around.logs.start("server", &server).await;
        let agent = every_flag_of_an_agent(around.agent(server.addresses().main)).flag("--server-token-file", &token);
        for agent in [agent.clone(), agent.by_environment()] {
            wait_until_ready(&around.logs.start("agent", &agent).await).await;
        }
    }
}

#[test]
fn both_programs_tell_their_version_and_their_flags() {
    for words in [&["agent", "--version"], &["server", "--version"]] {
        assert_eq!(Invocation::new(PROGRAMS, words).run().0, 0);
    }
    let wanted: [(&[&str], &[Wrong], &[Wrong]); 2] =
        [(&["agent", "--help"], &TO_SERVERS, &AGENT), (&["server", "--help"], &[], &SERVER)];
    for (words, some, others) in wanted {
        let (code, help) = Invocation::new(PROGRAMS, words).run();
        assert_eq!(code, 0, "{help}");
        for (flag, ..) in SHARED.iter().chain(some).chain(others) {
            assert!(help.contains(flag), "{flag} is not in {help}");
        }
    }
}
