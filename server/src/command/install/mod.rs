//! `kiam-server install metrics`: prints a Prometheus that finds its targets by the servers' `/sd`, with the rules of
//! `deploy/prometheus`, and a Grafana with the dashboards of `deploy/grafana`, for `kubectl apply -f -`.

mod manifest;
mod scrape;

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use kiam_common::args::{parse_metrics_path, parse_server_name};

/// What to install.
#[derive(Clone, Debug, Subcommand)]
pub enum InstallCommand {
    /// Prints the manifests of a Prometheus and a Grafana that know kiam-rs, for kubectl apply -f -
    Metrics(MetricsArgs),
}

/// The flags of `install metrics`.
#[derive(Args, Clone, Debug)]
pub struct MetricsArgs {
    /// Namespace of everything; any but the default must be there
    #[arg(long, value_name = "NAMESPACE", default_value = manifest::NAMESPACE, value_parser = parse_namespace)]
    namespace: String,

    /// Status listeners of the servers, whose /sd says what to scrape. Servers with --peers tell of each other: their
    /// service is enough
    #[arg(long, value_name = "URL[,URL]", default_value = "http://kiam-server.kube-system:9620", value_delimiter = ',',
          value_parser = parse_server)]
    server: Vec<String>,

    /// What servers and agents have for --metrics-auth: kubernetes lets Prometheus read metrics, and has it say who it is
    #[arg(long, value_enum, default_value = "kubernetes")]
    auth: ShownAuth,

    /// What servers and agents have for --metrics-path
    #[arg(long, value_name = "PATH", default_value = "/metrics", value_parser = parse_metrics_path)]
    metrics_path: String,

    /// Secret with the authority of their --metrics-tls-cert, as ca.crt
    #[arg(long, value_name = "SECRET", value_parser = parse_secret)]
    ca_secret: Option<String>,

    /// Secret with a certificate for their --metrics-client-ca, as tls.crt and tls.key
    #[arg(long, value_name = "SECRET", value_parser = parse_secret)]
    client_secret: Option<String>,

    /// Name that servers' certificates are for, where it is not the address that they are scraped at
    #[arg(long, value_name = "NAME", value_parser = parse_server_name)]
    server_tls_name: Option<String>,

    /// Likewise of agents
    #[arg(long, value_name = "NAME", value_parser = parse_server_name)]
    agent_tls_name: Option<String>,

    /// Image of Prometheus
    #[arg(long, value_name = "IMAGE", default_value = "quay.io/prometheus/prometheus:v3.5.0",
          value_parser = parse_image)]
    prometheus_image: String,

    /// Image of Grafana
    #[arg(long, value_name = "IMAGE", default_value = "docker.io/grafana/grafana:12.2.0", value_parser = parse_image)]
    grafana_image: String,

    /// Where the alerts' links lead: the address of your copy of runbooks.md
    #[arg(long, value_name = "URL", default_value = manifest::RUNBOOKS, value_parser = parse_runbooks)]
    runbooks: String,
}

/// `--auth`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ShownAuth {
    /// Prometheus shows its service account's token
    Kubernetes,
    /// Nothing is shown
    None,
}

/// Prints them.
pub(super) fn run(args: &MetricsArgs) -> ExitCode {
    match io::stdout().write_all(manifest::all(args).as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: cannot print the manifests: {error}");
            ExitCode::FAILURE
        }
    }
}

fn parse_namespace(text: &str) -> Result<String, String> {
    let inside = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let whole = (1..=63).contains(&text.len()) && !text.starts_with('-') && !text.ends_with('-');
    if whole && text.bytes().all(inside) { Ok(text.into()) } else { Err("expected a namespace's name".into()) }
}

/// A DNS subdomain, as Kubernetes names its objects.
fn parse_secret(text: &str) -> Result<String, String> {
    let inside = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
    let ends = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    if text.len() <= 253 && ends(bytes.first()) && ends(bytes.last()) && text.bytes().all(inside) {
        return Ok(text.into());
    }
    Err("expected the name of a secret".into())
}

fn parse_server(text: &str) -> Result<String, String> {
    let expected = || "expected a URL without a path, such as http://kiam-server.kube-system:9620".to_owned();
    let authority = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://")).ok_or_else(expected)?;
    let authority: http::uri::Authority = authority.parse().map_err(|_| expected())?;
    if authority.as_str().contains('@') { Err(expected()) } else { Ok(text.into()) }
}

fn parse_image(text: &str) -> Result<String, String> {
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || b"./:@_-".contains(&byte);
    if !text.is_empty() && text.bytes().all(inside) { Ok(text.into()) } else { Err("expected an image's name".into()) }
}

fn parse_runbooks(text: &str) -> Result<String, String> {
    let plain = text.bytes().all(|byte| byte.is_ascii_graphic() && !b"#\"'{}\\".contains(&byte));
    if plain && !text.is_empty() { Ok(text.into()) } else { Err("expected a URL without a fragment".into()) }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    const TOKEN: &str =
        "authorization: { type: Bearer, credentials_file: /var/run/secrets/kubernetes.io/serviceaccount/token }";

    #[derive(Debug, Parser)]
    struct CommandLine {
        #[command(subcommand)]
        command: InstallCommand,
    }

    fn printed(flags: &str) -> Result<String, String> {
        let line = ["kiam-server", "metrics"].into_iter().chain(flags.split_whitespace());
        let InstallCommand::Metrics(args) =
            CommandLine::try_parse_from(line).map_err(|error| error.to_string())?.command;
        Ok(manifest::all(&args))
    }

    #[test]
    fn every_place_that_is_to_be_filled_in_is() {
        let printed = printed("").unwrap();
        let left: Vec<&str> = printed.lines().filter(|line| line.contains('@')).collect();
        assert_eq!(left, Vec::<&str>::new());
    }

    #[test]
    fn each_flag_is_where_it_counts() {
        let flags = "--namespace=watching --server=http://a:9620,http://b:9620 --prometheus-image=mirror/prom@sha256:1 \
                     --grafana-image=mirror/graf:2 --runbooks=https://wiki/runbooks";
        let printed = printed(flags).unwrap();
        for line in [
            "  namespace: watching",
            &format!("          - {{ url: 'http://a:9620/sd', refresh_interval: 30s, {TOKEN} }}"),
            &format!("          - {{ url: 'http://b:9620/sd', refresh_interval: 30s, {TOKEN} }}"),
            "          image: \"mirror/prom@sha256:1\"",
            "          image: \"mirror/graf:2\"",
            "              runbook_url: https://wiki/runbooks#kiamagentdown",
        ] {
            assert!(printed.lines().any(|printed| printed == line), "{line}");
        }
        for replaced in ["namespace: kiam-metrics", "deploy/runbooks.md#"] {
            assert!(!printed.contains(replaced), "{replaced}");
        }
    }

    #[test]
    fn authorities_certificates_and_names_are_where_tls_needs_them() {
        let flags = "--server=https://a:9620 --ca-secret=kiam-ca --client-secret=prometheus.tls --server-tls-name=srv \
                     --agent-tls-name=agt --metrics-path=/m";
        let printed = printed(flags).unwrap();
        let files = "ca_file: /etc/prometheus/tls/ca.crt, cert_file: /etc/prometheus/tls/tls.crt, \
                     key_file: /etc/prometheus/tls/tls.key";
        let (server, agent) = (
            format!("tls_config: {{ {files}, server_name: 'srv' }}"),
            format!("tls_config: {{ {files}, server_name: 'agt' }}"),
        );
        for line in [
            format!("        {server}"),
            format!("        {agent}"),
            format!("          - {{ url: 'https://a:9620/sd', refresh_interval: 30s, {TOKEN}, {server} }}"),
            "            - { name: tls, mountPath: /etc/prometheus/tls, readOnly: true }".into(),
            "              - secret: { name: kiam-ca, items: [{ key: ca.crt, path: ca.crt }] }".into(),
            "  - nonResourceURLs: [/m, /sd]".into(),
        ] {
            assert!(printed.lines().any(|printed| printed == line), "{line}");
        }
    }

    #[test]
    fn what_nobody_asks_for_is_not_shown() {
        let printed = printed("--auth=none").unwrap();
        for part in ["credentials_file", "ClusterRole", "tls_config", "name: tls"] {
            assert!(!printed.contains(part), "{part}");
        }
        assert_eq!(printed.matches("automountServiceAccountToken: false").count(), 2, "of Prometheus and of Grafana");
    }

    #[test]
    fn only_its_own_namespace_is_made_and_so_deleted() {
        let makes = |flags: &str| printed(flags).unwrap().contains("kind: Namespace\n");
        assert!(makes("") && !makes("--namespace=monitoring"));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for flag in [
            "--namespace=Kiam",
            "--namespace=a/b",
            "--server=kiam-server:9620",
            "--server=http://kiam-server:9620/sd",
            "--server=http://me:secret@kiam-server",
            "--prometheus-image=a\"b",
            "--grafana-image=",
            "--runbooks=runbooks.md#here",
            "--metrics-path=metrics",
            "--ca-secret=kube-system/ca",
            "--client-secret=-",
            "--server-tls-name=a'b",
            "--agent-tls-name=a_b}",
        ] {
            let error = printed(flag).unwrap_err();
            assert!(error.contains("expected"), "{flag}: {error}");
        }
    }
}
