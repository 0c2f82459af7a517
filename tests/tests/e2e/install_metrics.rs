//! `kiam-server install metrics` prints what a real Kubernetes API server takes.

use std::fs;

use kiam_tests::real::eventually;
use kiam_tests::real::program::Invocation;
use kiam_tests::real::prometheus::promtool;
use serde_json::Value;

use crate::rules::FILES;
use crate::shared;
use crate::world::PROGRAMS;

/// What the command prints.
pub(crate) fn printed(flags: &[(&str, &str)]) -> String {
    let command = Invocation::new(PROGRAMS, &["server", "install", "metrics"]);
    let command = flags.iter().fold(command, |command, (flag, value)| command.flag(flag, value));
    let (code, said) = command.run();
    assert_eq!(code, 0, "{said}");
    said
}

/// The objects among it.
pub(crate) fn objects(printed: &str) -> Vec<Value> {
    use serde::Deserialize as _;
    let documents = serde_norway::Deserializer::from_str(printed);
    documents.map(|document| Value::deserialize(document).expect("YAML")).collect()
}

/// A file of one of the maps.
pub(crate) fn file<'o>(objects: &'o [Value], map: &str, name: &str) -> &'o str {
    let map = objects.iter().find(|object| object["kind"] == "ConfigMap" && object["metadata"]["name"] == map);
    map.and_then(|map| map["data"][name].as_str()).unwrap_or_else(|| panic!("no {name}"))
}

/// For programs with certificates of their own, that ask for one.
const TLS: [(&str, &str); 6] = [
    ("--server", "https://kiam-server.kube-system:9620"),
    ("--ca-secret", "kiam-metrics-ca"),
    ("--client-secret", "kiam-prometheus-tls"),
    ("--server-tls-name", "kiam-server"),
    ("--agent-tls-name", "kiam-agent"),
    ("--metrics-path", "/kiam/metrics"),
];

#[tokio::test]
async fn a_real_api_server_takes_all_of_it_again_and_again() {
    let kubernetes = shared::kubernetes().await;
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("metrics.yaml");
    let file = format!("--filename={}", path.display());
    let reader = "--as=system:serviceaccount:kiam-metrics:kiam-prometheus";
    for (flags, metrics) in [(&TLS[..], "/kiam/metrics"), (&[], "/metrics")] {
        fs::write(&path, printed(flags)).expect("the manifests can be written");
        let applied = kubernetes.kubectl(&["apply", &file]);
        assert_eq!(applied.lines().count(), objects(&printed(flags)).len(), "{applied}");
        let again = kubernetes.kubectl(&["apply", &file]);
        assert!(again.lines().all(|line| line.ends_with("unchanged")), "{again}");
        for path in [metrics, "/sd"] {
            eventually("the right to take effect", async || {
                kubernetes.try_kubectl(&["auth", "can-i", "get", path, reader]).ok()
            })
            .await;
        }
    }
    for (verb, what) in [("get", "/logs"), ("list", "pods"), ("get", "secrets")] {
        assert!(kubernetes.try_kubectl(&["auth", "can-i", verb, what, reader]).is_err(), "{verb} {what}");
    }
}

#[test]
fn promtool_takes_the_configuration_whatever_the_flags() {
    for flags in [&[][..], &TLS, &[("--auth", "none")]] {
        let objects = objects(&printed(flags));
        let directory = tempfile::tempdir().expect("a directory");
        let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).expect("a file");
        // What a pod would mount.
        let configuration = file(&objects, "kiam-prometheus", "prometheus.yaml")
            .replace("/var/run/secrets/kubernetes.io/serviceaccount/", "")
            .replace("/etc/prometheus/tls/", "")
            .replace("/etc/prometheus/rules/", "rules-");
        write("prometheus.yaml", &configuration);
        for mounted in ["token", "ca.crt", "tls.crt", "tls.key"] {
            write(mounted, "");
        }
        for name in FILES {
            write(&format!("rules-{name}"), file(&objects, "kiam-prometheus-rules", name));
        }
        let (sound, said) = promtool(directory.path(), &["check", "config", "prometheus.yaml"]);
        assert!(sound && said.contains("3 rule files found"), "{said}");
    }
}

#[test]
fn what_the_pods_mount_is_printed_too() {
    let objects = objects(&printed(&[]));
    let named = |kind: &str| -> Vec<String> {
        let of_kind = objects.iter().filter(|object| object["kind"] == kind);
        of_kind.map(|object| object["metadata"]["name"].as_str().expect("a name").into()).collect()
    };
    let maps = named("ConfigMap");
    let mount = regex::Regex::new(r#""configMap":\{"name":"([^"]+)"\}"#).expect("sound");
    let mut mounted = 0;
    for deployment in objects.iter().filter(|object| object["kind"] == "Deployment") {
        let text = deployment.to_string();
        for map in mount.captures_iter(&text) {
            assert!(maps.contains(&map[1].to_owned()), "{}", &map[1]);
            mounted += 1;
        }
    }
    assert_eq!(mounted, maps.len(), "ConfigMaps that nobody mounts, among {maps:?}");
}

#[test]
fn a_flag_that_makes_no_sense_ends_the_command_with_one_line() {
    let wrong = Invocation::new(PROGRAMS, &["server", "install", "metrics"]).flag("--namespace", "Not/One");
    let (code, said) = wrong.run();
    assert_eq!((code, said.lines().count()), (2, 1), "{said}");
    assert!(said.contains("--namespace") && said.contains("Not/One") && said.contains("expected"), "{said}");
}
