//! The kustomize manifests, for clusters without Helm.

use std::fs;
use std::path::{Path, PathBuf};

use http::StatusCode;
use kiam_common::testing::Pki;
use kiam_tests::real::namespace::PERMITTED;
use kiam_tests::real::program::Invocation;
use serde::Deserialize as _;
use serde_json::{Value, json};

use crate::cluster::{Cluster, cluster};
use crate::container::PROGRAMS;
use crate::programs::{Installed, Programs, reader};

/// What each overlay's pods are behind.
const OVERLAYS: [(&str, &str); 5] =
    [("kops", "cali+"), ("kubeadm", "cali+"), ("eks", "eni+,vlan+"), ("k3s", "cni0"), ("kind", "veth+")];

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/kustomize")
}

fn build(cluster: &Cluster, path: &Path) -> String {
    cluster.kubernetes.kubectl(&["kustomize", &path.display().to_string()])
}

#[tokio::test]
async fn every_overlay_names_its_networks_interfaces_and_is_taken_by_the_api_server() {
    let cluster = cluster().await;
    for (overlay, interfaces) in OVERLAYS {
        let manifests = build(cluster, &directory().join("overlays").join(overlay));
        assert!(manifests.contains(&format!("KIAM_HOST_INTERFACE: {interfaces}\n")), "{overlay}: {manifests}");
        cluster.assert_taken(overlay, &manifests);
    }
    let tested = OVERLAYS.map(|(overlay, _)| overlay);
    let listed = fs::read_dir(directory().join("overlays")).expect("the overlays");
    let listed = listed.map(|entry| entry.expect("an overlay").file_name());
    for overlay in listed {
        assert!(tested.contains(&overlay.to_str().expect("a name")), "{overlay:?} is not tested");
    }
}

/// What a directory and a component make together.
fn composed(cluster: &Cluster, resource: &str, component: &str) -> String {
    let made = tempfile::tempdir().expect("a directory");
    let kustomize = fs::canonicalize(directory()).expect("the manifests");
    // Kustomize takes paths only from where its file is.
    let up = "../".repeat(fs::canonicalize(made.path()).expect("it is there").components().count() - 1);
    let here = format!("{up}{}", kustomize.strip_prefix("/").expect("a whole path").display());
    let kustomization = format!(
        "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nnamespace: kube-system\n\
         resources: [{here}/{resource}]\ncomponents: [{here}/components/{component}]\n"
    );
    fs::write(made.path().join("kustomization.yaml"), kustomization).expect("the file can be written");
    build(cluster, made.path())
}

#[tokio::test]
async fn certificates_by_cert_manager_are_taken_by_the_api_server() {
    let cluster = cluster().await;
    let manifests = composed(cluster, "base", "cert-manager");
    assert!(manifests.contains("secretName: kiam-agent-tls\n"), "{manifests}");
    cluster.assert_taken("cert-manager", &manifests);
}

/// The objects among manifests.
pub(crate) fn objects(manifests: &str) -> Vec<Value> {
    let documents = serde_norway::Deserializer::from_str(manifests);
    documents.map(|document| Value::deserialize(document).expect("YAML")).collect()
}

pub(crate) fn of_kind<'o>(objects: &'o [Value], kind: &str, name: &str) -> &'o Value {
    let found = objects.iter().find(|object| object["kind"] == kind && object["metadata"]["name"] == name);
    found.unwrap_or_else(|| panic!("no {kind} {name}"))
}

#[tokio::test]
async fn with_the_metrics_component_every_overlays_pods_say_where_their_metrics_are() {
    let cluster = cluster().await;
    for (overlay, _) in OVERLAYS {
        let manifests = composed(cluster, &format!("overlays/{overlay}"), "metrics");
        cluster.assert_taken(overlay, &manifests);
        let made = objects(&manifests);
        for (kind, name) in [("Deployment", "kiam-server"), ("DaemonSet", "kiam-agent")] {
            let pods = &of_kind(&made, kind, name)["spec"]["template"];
            let ports = pods["spec"]["containers"][0]["ports"].as_array().expect("ports");
            let port = ports.iter().find(|port| port["name"] == "metrics").expect("one of metrics");
            let told = json!({
                "prometheus.io/scrape": "true",
                "prometheus.io/path": "/metrics",
                "prometheus.io/port": port["containerPort"].to_string(),
            });
            assert_eq!(pods["metadata"]["annotations"], told, "{overlay}: {name}");
        }
    }
}

#[tokio::test]
async fn with_the_startup_taint_component_every_overlays_server_has_the_flag_the_rights_and_the_toleration() {
    let cluster = cluster().await;
    for (overlay, _) in OVERLAYS {
        let manifests = composed(cluster, &format!("overlays/{overlay}"), "startup-taint");
        cluster.assert_taken(overlay, &manifests);
        assert!(manifests.contains("KIAM_STARTUP_TAINT: example.com/agent-not-ready\n"), "{overlay}: {manifests}");
        let made = objects(&manifests);
        let rules = of_kind(&made, "ClusterRole", "kiam-server")["rules"].as_array().expect("rules");
        let further = json!({"apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "patch"]});
        assert_eq!(rules.last(), Some(&further), "{overlay}");
        let pods = &of_kind(&made, "Deployment", "kiam-server")["spec"]["template"]["spec"];
        let tolerations = pods["tolerations"].as_array().expect("tolerations");
        let taint = json!({"key": "example.com/agent-not-ready", "operator": "Exists"});
        let on_control_plane = usize::from(pods["hostNetwork"] == true);
        assert_eq!((tolerations.last(), tolerations.len()), (Some(&taint), 1 + on_control_plane), "{overlay}");
    }
}

/// Both have a role of that name, and whichever is applied last counts.
#[tokio::test]
async fn the_metrics_component_and_install_metrics_give_readers_the_same_rights() {
    let (code, printed) = Invocation::new(PROGRAMS, &["server", "install", "metrics"]).run();
    assert_eq!(code, 0, "{printed}");
    let component = objects(&composed(cluster().await, "base", "metrics"));
    let [here, there] =
        [&component, &objects(&printed)].map(|objects| of_kind(objects, "ClusterRole", "kiam-metrics-reader").clone());
    assert_eq!(here["rules"], there["rules"]);
}

#[tokio::test]
async fn as_the_manifests_run_them_the_programs_give_a_pod_its_credentials() {
    let cluster = cluster().await;
    let namespace = cluster.namespace(&[(PERMITTED, ".*")]).await;
    let manifests = build(cluster, &directory().join("overlays/eks"));
    cluster.kubernetes.feed_kubectl(&["apply"], &manifests).expect("the manifests are taken");
    let pki = Pki::new();
    for name in ["agent", "server"] {
        let files = pki.issue(name, &[name, "localhost"]);
        let files = [files.cert, files.key, files.ca].map(|file| format!("--from-file={}", file.display()));
        let secret = format!("kiam-{name}-tls");
        let create =
            ["create", "secret", "generic", &secret, "--namespace=kube-system", &files[0], &files[1], &files[2]];
        cluster.kubernetes.kubectl(&create);
    }
    let programs = Programs::start(&Installed {
        cluster,
        namespace: "kube-system",
        server: "deployment/kiam-server",
        agent: "daemonset/kiam-agent",
        account: None,
        open_metrics: true,
    })
    .await;
    let pod = reader(&namespace, "reader").await;
    let answer = programs.ask(&pod).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
}
