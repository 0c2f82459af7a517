use std::time::Duration;

use clap::{ArgAction, CommandFactory, Parser, Subcommand};

use super::*;
use crate::telemetry::Level;

/// A program with every shared group of flags, and one flag of its own.
#[derive(Parser, Debug)]
#[command(name = "program", version)]
struct Program {
    #[command(flatten)]
    log: LogArgs,
    #[command(flatten)]
    ops: OpsArgs,
    #[command(flatten)]
    tls: TlsArgs,
    #[command(flatten)]
    server: ServerAddressArgs,
    #[arg(long, default_value_t = 3100)]
    port: u16,
    #[arg(long, num_args = 0..=1, default_value = "true", default_missing_value = "true", require_equals = true,
          action = ArgAction::Set)]
    default_on: bool,
}

/// The commands beside `health`.
#[derive(Subcommand, Debug)]
enum Other {
    Sing,
}

const FILES: [&str; 3] = ["--cert=/c", "--key=/k", "--ca=/a"];

fn with(words: &[&str], environment: &[(&str, &str)]) -> Result<Invocation<Program, Other>, ParseError> {
    let argv = ["kiam"].iter().chain(words).map(OsString::from);
    parse("agent", argv, &|name| environment.iter().find(|(n, _)| *n == name).map(|(_, value)| value.into()))
}

fn program(words: &[&str], environment: &[(&str, &str)]) -> Program {
    let words: Vec<&str> = words.iter().chain(&FILES).copied().collect();
    match with(&words, environment).unwrap() {
        Invocation::Run(program) => program,
        other => panic!("{other:?}"),
    }
}

fn refused(words: &[&str], environment: &[(&str, &str)]) -> String {
    match with(words, environment).unwrap_err() {
        ParseError::Wrong(line) => line,
        ParseError::Asked(asked) => panic!("{asked}"),
    }
}

#[test]
fn defaults_are_the_contracts() {
    let program = program(&[], &[]);
    assert!(!program.log.json_log);
    assert_eq!(program.log.level, Level::Info);
    assert_eq!(program.ops.prometheus_listen_addr, "localhost:9620");
    assert_eq!(program.ops.prometheus_sync_interval, Duration::from_secs(5));
    assert_eq!(program.ops.pprof_listen_addr, "");
    assert_eq!(program.server.server_address.to_string(), "localhost:9610");
    assert_eq!(program.server.server_address_refresh, Duration::ZERO);
    assert_eq!(program.server.gateway_timeout_creation, Duration::from_secs(1));
    assert_eq!(program.server.keepalive.grpc_keepalive_time_duration, Duration::from_secs(10));
    assert_eq!(program.server.keepalive.grpc_keepalive_timeout_duration, Duration::from_secs(2));
    assert!(!program.server.keepalive.grpc_keepalive_permit_without_stream);
}

#[test]
fn switches_take_every_form_that_kingpin_takes() {
    for (words, expected) in [
        (&["--json-log"][..], true),
        (&["--json-log=true"], true),
        (&["--json-log=false"], false),
        (&["--no-json-log"], false),
        (&[], false),
    ] {
        assert_eq!(program(words, &[]).log.json_log, expected, "{words:?}");
    }
    assert!(!program(&["--no-default-on"], &[]).default_on);
    assert!(program(&[], &[]).default_on);
}

#[test]
fn no_is_for_switches_alone() {
    assert!(refused(&["--no-port"], &[]).starts_with("--no-port is no flag of this program"));
}

#[test]
fn the_leading_word_is_not_needed_and_not_an_error() {
    assert_eq!(program(&["agent", "--port=1"], &[]).port, 1);
    assert_eq!(program(&["--port", "1"], &[]).port, 1);
    assert!(refused(&["server"], &[]).contains("server"));
}

#[test]
fn the_environment_stands_between_command_line_and_default() {
    let environment = [
        ("KIAM_PORT", "8181"),
        ("KIAM_LEVEL", "debug"),
        ("KIAM_JSON_LOG", "true"),
        ("KIAM_GRPC_KEEPALIVE_TIME_DURATION", "1m"),
        ("KIAM_PROMETHEUS_LISTEN_ADDR", ""),
    ];
    let given = program(&["--level=warn"], &environment);
    assert_eq!(given.port, 8181);
    assert_eq!(given.log.level, Level::Warn);
    assert!(given.log.json_log);
    assert_eq!(given.server.keepalive.grpc_keepalive_time_duration, Duration::from_mins(1));
    assert_eq!(given.ops.prometheus_listen_addr, "localhost:9620", "an empty variable is as good as none");
    assert!(!program(&["--no-json-log"], &environment).log.json_log);
}

#[test]
fn a_required_flag_may_come_from_the_environment() {
    let environment = [("KIAM_CERT", "/c"), ("KIAM_KEY", "/k"), ("KIAM_CA", "/a")];
    assert!(matches!(with(&[], &environment), Ok(Invocation::Run(program)) if program.tls.ca.as_os_str() == "/a"));
    assert!(matches!(with(&["health"], &environment), Ok(Invocation::Health(args)) if args.tls.ca.as_os_str() == "/a"));
}

#[test]
fn health_has_flags_of_its_own() {
    let words: Vec<&str> =
        ["health", "--timeout=5s", "--server-address=kiam-server:443"].into_iter().chain(FILES).collect();
    let Invocation::Health(health) = with(&words, &[]).unwrap() else { panic!("the program") };
    assert_eq!(health.timeout, Duration::from_secs(5));
    assert_eq!(health.server.server_address.host, "kiam-server");
    assert!(refused(&["health", "--port=1"], &[]).starts_with("--port is no flag of this program"));
}

#[test]
fn what_is_wrong_is_told_in_one_line_with_flag_value_and_expectation() {
    for (words, expected) in [
        (&["--port=abc"][..], "--port: \"abc\" is not valid: expected a whole number"),
        (&["--port=99999"], "--port: \"99999\" is not valid: 99999 is not in 0..=65535"),
        (&["--level=loud"], "--level: \"loud\" is not valid: expected one of debug, info, warn, error"),
        (
            &["--prometheus-sync-interval=5"],
            "--prometheus-sync-interval: \"5\" is not valid: expected a duration such as 15m, 1m30s or 500ms",
        ),
        (
            &["--server-address=nowhere"],
            "--server-address: \"nowhere\" is not valid: expected host:port, such as kiam-server:443 or [fd00::1]:443",
        ),
        (&["--json-log=perhaps"], "--json-log: \"perhaps\" is not valid: expected one of true, false"),
        (&["--levle=info"], "--levle is no flag of this program; did you mean --level?"),
        (&["--nonsense"], "--nonsense is no flag of this program; --help lists them"),
        (&["--port"], "--port: \"\" is not valid: expected a value"),
        (&[], "missing --cert <FILE>, --key <FILE>, --ca <FILE>"),
    ] {
        assert_eq!(refused(words, &[]), expected, "{words:?}");
    }
}

#[test]
fn a_wrong_variable_is_named() {
    assert_eq!(
        refused(&FILES, &[("KIAM_PORT", "metadata")]),
        "KIAM_PORT (--port): \"metadata\" is not valid: expected a whole number"
    );
    let both = ["--port=x", "--cert=/c", "--key=/k", "--ca=/a"];
    assert!(refused(&both, &[("KIAM_PORT", "x")]).starts_with("--port:"), "the command line wins");
}

#[test]
fn what_kubernetes_sets_for_a_service_is_no_flag() {
    assert_eq!(program(&[], &[("KIAM_PORT", "tcp://10.0.0.1:443")]).port, 3100);
}

#[test]
fn every_error_is_one_line() {
    for words in [&["--port=1", "--port=2"][..], &["--cert"], &["word"], &["--json-log", "health"], &["--port=a\nb"]] {
        let line = refused(words, &[]);
        assert!(!line.is_empty() && !line.contains('\n'), "{words:?}: {line:?}");
    }
}

#[test]
fn help_names_the_variables_and_is_no_error() {
    for word in ["--help", "--version"] {
        let Err(ParseError::Asked(asked)) = with(&[word], &[]) else { panic!("{word}") };
        assert_eq!(asked.exit_code(), 0);
        assert!(word == "--version" || asked.to_string().contains("[env: KIAM_SERVER_ADDRESS]"), "{asked}");
    }
}

#[test]
fn help_says_what_the_program_and_its_commands_do() {
    let help = Invocation::<Program, Other>::command().render_help().to_string();
    assert!(help.starts_with("A program with every shared group"), "{help}");
    assert!(help.contains("health  Asks a server whether it is well"), "{help}");
}
