//! The manifests as text: `deploy/metrics` with what the flags say filled in, and the rules and dashboards beside it.

use super::scrape::{self, TLS};
use super::{MetricsArgs, ShownAuth};

/// The namespace that is printed, too: with another, somebody else's would go with `kubectl delete`.
pub(super) const NAMESPACE: &str = "kiam-metrics";
/// The file that the rules' links name.
pub(super) const RUNBOOKS: &str = "deploy/runbooks.md";

const STACK: &str = include_str!("../../../../deploy/metrics/stack.yaml");
const RBAC: &str = include_str!("../../../../deploy/metrics/rbac.yaml");

/// A file's name and text.
type File = (&'static str, &'static str);

const RULES: [File; 3] = [
    ("recording.yaml", include_str!("../../../../deploy/prometheus/recording.yaml")),
    ("agents.yaml", include_str!("../../../../deploy/prometheus/agents.yaml")),
    ("servers.yaml", include_str!("../../../../deploy/prometheus/servers.yaml")),
];

const DASHBOARDS: [File; 6] = [
    ("kiam-overview", include_str!("../../../../deploy/grafana/kiam-overview.json")),
    ("kiam-server", include_str!("../../../../deploy/grafana/kiam-server.json")),
    ("kiam-agents", include_str!("../../../../deploy/grafana/kiam-agents.json")),
    ("kiam-node", include_str!("../../../../deploy/grafana/kiam-node.json")),
    ("kiam-roles", include_str!("../../../../deploy/grafana/kiam-roles.json")),
    ("kiam-grpc", include_str!("../../../../deploy/grafana/kiam-grpc.json")),
];

/// All of them, one YAML document after the other.
pub(super) fn all(args: &MetricsArgs) -> String {
    let namespace = &args.namespace;
    let shows_token = args.auth == ShownAuth::Kubernetes;
    let mut documents = vec![
        STACK
            .replace("@NAMESPACE@", namespace)
            .replace("@PROMETHEUS_IMAGE@", &args.prometheus_image)
            .replace("@GRAFANA_IMAGE@", &args.grafana_image)
            .replace("@SHOWS_TOKEN@", &shows_token.to_string())
            .replace("@TLS_MOUNT@", &tls_mount(args))
            .replace("@TLS_VOLUME@", &tls_volume(args))
            .replace("@DASHBOARD_SOURCES@", &dashboard_sources()),
        config_map(namespace, "kiam-prometheus", "", [("prometheus.yaml", scrape::configuration(args))]),
        config_map(namespace, "kiam-prometheus-rules", "", RULES.map(|(name, text)| (name, linked(text, args)))),
    ];
    if shows_token {
        documents.push(RBAC.replace("@NAMESPACE@", namespace).replace("@METRICS_PATH@", &args.metrics_path));
    }
    // One each: kubectl notes on an object what it applied, and there is not room for them all.
    for (uid, text) in DASHBOARDS {
        let label = "  labels: { grafana_dashboard: \"1\" }\n";
        let file = format!("{uid}.json");
        documents.push(config_map(namespace, &dashboard_map(uid), label, [(&*file, text.to_owned())]));
    }
    if namespace == NAMESPACE {
        documents.insert(0, format!("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {namespace}\n"));
    }
    documents.join("---\n")
}

/// What Prometheus has of the secrets that flags name, by the secret.
fn secrets(args: &MetricsArgs) -> Vec<(&str, &'static str)> {
    let ca = args.ca_secret.as_deref().map(|secret| (secret, "{ key: ca.crt, path: ca.crt }"));
    let client = args.client_secret.as_deref();
    let client = client.map(|secret| (secret, "{ key: tls.crt, path: tls.crt }, { key: tls.key, path: tls.key }"));
    ca.into_iter().chain(client).collect()
}

fn tls_mount(args: &MetricsArgs) -> String {
    if secrets(args).is_empty() {
        return String::new();
    }
    format!("            - {{ name: tls, mountPath: {TLS}, readOnly: true }}\n")
}

fn tls_volume(args: &MetricsArgs) -> String {
    let source =
        |(secret, items): (&str, &str)| format!("              - secret: {{ name: {secret}, items: [{items}] }}\n");
    let sources: String = secrets(args).into_iter().map(source).collect();
    if sources.is_empty() {
        return sources;
    }
    format!("        - name: tls\n          projected:\n            sources:\n{sources}")
}

fn linked(rules: &str, args: &MetricsArgs) -> String {
    rules.replace(&format!("{RUNBOOKS}#"), &format!("{}#", args.runbooks))
}

fn dashboard_sources() -> String {
    DASHBOARDS.map(|(uid, _)| format!("              - configMap: {{ name: {} }}", dashboard_map(uid))).join("\n")
}

fn dashboard_map(uid: &str) -> String {
    format!("{uid}-dashboard")
}

/// `labels` are whole lines of the metadata.
fn config_map<'n>(
    namespace: &str,
    name: &str,
    labels: &str,
    files: impl IntoIterator<Item = (&'n str, String)>,
) -> String {
    let entry = |(name, text): (&str, String)| format!("  {name}: |\n{}", indented(&text));
    let data = files.into_iter().map(entry).collect::<Vec<_>>().concat();
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\n  namespace: {namespace}\n{labels}data:\n{data}"
    )
}

/// As a block of YAML, which ends with its last line.
fn indented(text: &str) -> String {
    let indent = |line: &str| if line.is_empty() { "\n".into() } else { format!("    {line}\n") };
    text.lines().map(indent).collect()
}
