//! The kustomize manifests, for clusters without Helm.

use std::fs;
use std::path::{Path, PathBuf};

use http::StatusCode;
use kiam_common::testing::Pki;
use kiam_tests::real::namespace::PERMITTED;

use crate::cluster::{Cluster, cluster};
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

#[tokio::test]
async fn certificates_by_cert_manager_are_taken_by_the_api_server() {
    let cluster = cluster().await;
    let made = tempfile::tempdir().expect("a directory");
    let kustomize = fs::canonicalize(directory()).expect("the manifests");
    // Kustomize takes paths only from where its file is.
    let up = "../".repeat(fs::canonicalize(made.path()).expect("it is there").components().count() - 1);
    let here = format!("{up}{}", kustomize.strip_prefix("/").expect("a whole path").display());
    let kustomization = format!(
        "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nnamespace: kube-system\n\
         resources: [{here}/base]\ncomponents: [{here}/components/cert-manager]\n"
    );
    fs::write(made.path().join("kustomization.yaml"), kustomization).expect("the file can be written");
    let manifests = build(cluster, made.path());
    assert!(manifests.contains("secretName: kiam-agent-tls\n"), "{manifests}");
    cluster.assert_taken("cert-manager", &manifests);
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
