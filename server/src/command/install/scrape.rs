//! What the printed Prometheus scrapes, and how it shows who it is.

use std::iter;

use super::{MetricsArgs, ShownAuth};

/// Where Prometheus has the files of the secrets that flags name.
pub(super) const TLS: &str = "/etc/prometheus/tls";

const CONFIGURATION: &str = include_str!("../../../../deploy/metrics/prometheus.yaml");
const JOB: &str = include_str!("../../../../deploy/metrics/job.yaml");
/// Older versions need the type.
const TOKEN: &str =
    "authorization: { type: Bearer, credentials_file: /var/run/secrets/kubernetes.io/serviceaccount/token }";

/// `prometheus.yaml`.
pub(super) fn configuration(args: &MetricsArgs) -> String {
    let names = [("server", &args.server_tls_name), ("agent", &args.agent_tls_name)];
    // A job each: Prometheus has one name for the certificates of a job, whose targets it knows by their addresses.
    let jobs = names.map(|(component, name)| {
        let line = |setting: &String| format!("    {setting}\n");
        let access: Vec<String> = access(args, name.as_deref()).iter().map(line).collect();
        JOB.replace("@COMPONENT@", component).replace("@ACCESS@", &access.concat()).replace("@TARGETS@", &targets(args))
    });
    format!("{CONFIGURATION}{}", jobs.concat())
}

fn targets(args: &MetricsArgs) -> String {
    let settings: Vec<String> =
        iter::once("refresh_interval: 30s".to_owned()).chain(access(args, args.server_tls_name.as_deref())).collect();
    let settings = settings.join(", ");
    let target = |server: &String| format!("      - {{ url: '{server}/sd', {settings} }}\n");
    args.server.iter().map(target).collect()
}

/// How Prometheus shows who it is, and whom it trusts: settings of a job, or of where it finds targets.
fn access(args: &MetricsArgs, name: Option<&str>) -> Vec<String> {
    let token = (args.auth == ShownAuth::Kubernetes).then(|| TOKEN.to_owned());
    let ca = args.ca_secret.as_ref().map(|_| format!("ca_file: {TLS}/ca.crt"));
    let client = args.client_secret.as_ref().map(|_| format!("cert_file: {TLS}/tls.crt, key_file: {TLS}/tls.key"));
    let name = name.map(|name| format!("server_name: '{name}'"));
    let tls: Vec<String> = [ca, client, name].into_iter().flatten().collect();
    let tls = (!tls.is_empty()).then(|| format!("tls_config: {{ {} }}", tls.join(", ")));
    token.into_iter().chain(tls).collect()
}
