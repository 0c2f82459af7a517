//! The flags about who may read metrics, and how.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Paths of the listener that are taken.
const TAKEN: [&str; 3] = ["/live", "/ready", "/sd"];
/// The environment variable that opens metrics to everybody.
const INSECURE: &str = "INSECURE_METRICS";

/// How metrics are read.
#[derive(Args, Clone, Debug)]
pub struct MetricsArgs {
    /// Path of the metrics on --prometheus-listen-addr
    #[arg(long, value_name = "PATH", default_value = "/metrics", value_parser = parse_metrics_path)]
    pub metrics_path: String,

    /// PEM file with the certificate chain for --prometheus-listen-addr; empty, the default, serves without TLS
    #[arg(long, value_name = "FILE", default_value = "")]
    pub metrics_tls_cert: String,

    /// PEM file with the private key of that certificate
    #[arg(long, value_name = "FILE", default_value = "")]
    pub metrics_tls_key: String,

    /// PEM file with the certificate authorities that scrapers must chain to; empty, the default, asks for none
    #[arg(long, value_name = "FILE", default_value = "")]
    pub metrics_client_ca: String,

    /// Who may read metrics: everybody, or whom the Kubernetes API lets `get` the path; `INSECURE_METRICS=true` is none
    #[arg(long, value_enum, default_value = "none")]
    pub metrics_auth: MetricsAuth,

    /// `INSECURE_METRICS=true` is in the environment: whatever `--metrics-auth` says, it is `none`.
    #[arg(skip = is_insecure())]
    pub insecure_metrics: bool,
}

/// `--metrics-auth`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MetricsAuth {
    /// Everybody
    None,
    /// Whose bearer token the Kubernetes API knows, and lets get the path
    Kubernetes,
}

/// The files of the listener's own certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricsFiles {
    /// `--metrics-tls-cert`
    pub cert: PathBuf,
    /// `--metrics-tls-key`
    pub key: PathBuf,
    /// `--metrics-client-ca`
    pub client_ca: Option<PathBuf>,
}

/// A flag that needs another.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{flag} {value}: expected {missing}, too")]
pub struct Incomplete {
    flag: &'static str,
    value: String,
    missing: &'static str,
}

impl MetricsArgs {
    /// Whether somebody must be asked who may read metrics.
    pub fn auth(&self) -> MetricsAuth {
        if self.insecure_metrics { MetricsAuth::None } else { self.metrics_auth }
    }

    /// The files for TLS, if it is on.
    pub fn files(&self) -> Result<Option<MetricsFiles>, Incomplete> {
        let needs = |flag, value: &str, missing| Err(Incomplete { flag, value: value.into(), missing });
        let path = |text: &str| (!text.is_empty()).then(|| PathBuf::from(text));
        match (path(&self.metrics_tls_cert), path(&self.metrics_tls_key), path(&self.metrics_client_ca)) {
            (Some(cert), Some(key), client_ca) => Ok(Some(MetricsFiles { cert, key, client_ca })),
            (Some(_), None, _) => needs("--metrics-tls-cert", &self.metrics_tls_cert, "--metrics-tls-key"),
            (None, Some(_), _) => needs("--metrics-tls-key", &self.metrics_tls_key, "--metrics-tls-cert"),
            (None, None, Some(_)) => needs("--metrics-client-ca", &self.metrics_client_ca, "--metrics-tls-cert"),
            (None, None, None) => Ok(None),
        }
    }
}

fn is_insecure() -> bool {
    std::env::var_os(INSECURE).is_some_and(|value| value == "true")
}

/// A path that the listener can serve metrics at.
pub fn parse_metrics_path(text: &str) -> Result<String, String> {
    let is_sound = |b: u8| b.is_ascii_alphanumeric() || b"/-_.~".contains(&b);
    if !text.starts_with('/') || !text.bytes().all(is_sound) {
        return Err("expected a path such as /metrics: letters, digits, /, -, _, . and ~".into());
    }
    if TAKEN.contains(&text) {
        return Err(format!("expected another path than {}", TAKEN.join(", ")));
    }
    Ok(text.into())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        metrics: MetricsArgs,
    }

    fn args(flags: &[&str]) -> Result<MetricsArgs, String> {
        let parsed = Program::try_parse_from(["kiam"].iter().chain(flags));
        parsed.map(|program| program.metrics).map_err(|error| error.to_string())
    }

    #[test]
    fn by_default_metrics_are_open_without_tls_at_kiams_path() {
        let args = args(&[]).unwrap();
        assert_eq!((args.metrics_path.as_str(), args.auth(), args.files()), ("/metrics", MetricsAuth::None, Ok(None)));
    }

    #[test]
    fn the_environment_opens_what_a_flag_closes() {
        let closed = args(&["--metrics-auth=kubernetes"]).unwrap();
        assert_eq!(closed.auth(), MetricsAuth::Kubernetes);
        assert_eq!(MetricsArgs { insecure_metrics: true, ..closed }.auth(), MetricsAuth::None);
    }

    #[test]
    fn a_path_is_one_that_the_listener_can_serve() {
        assert_eq!(args(&["--metrics-path=/kiam/metrics"]).unwrap().metrics_path, "/kiam/metrics");
        for wrong in ["metrics", "", "/m?x=1", "/a b", "/live", "/sd"] {
            assert!(args(&[&format!("--metrics-path={wrong}")]).unwrap_err().contains("expected"), "{wrong}");
        }
    }

    #[test]
    fn files_that_need_each_other_are_told_together() {
        let (cert, key, ca) = ("--metrics-tls-cert=/c", "--metrics-tls-key=/k", "--metrics-client-ca=/a");
        let files = args(&[cert, key, ca]).unwrap().files().unwrap().unwrap();
        assert_eq!((files.cert, files.key, files.client_ca), ("/c".into(), "/k".into(), Some("/a".into())));
        assert_eq!(args(&[cert, key]).unwrap().files().unwrap().unwrap().client_ca, None);
        for (flags, told) in [
            (&[cert][..], "--metrics-tls-cert /c: expected --metrics-tls-key, too"),
            (&[key, ca], "--metrics-tls-key /k: expected --metrics-tls-cert, too"),
            (&[ca], "--metrics-client-ca /a: expected --metrics-tls-cert, too"),
        ] {
            assert_eq!(args(flags).unwrap().files().unwrap_err().to_string(), told);
        }
    }
}
