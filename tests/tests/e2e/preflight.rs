//! `kiam-server preflight` of an emulated and of a real cluster.

use std::path::Path;

use kiam_tests::kube_api::Pod;
use kiam_tests::real::namespace::{Namespace, PERMITTED, ROLE};
use kiam_tests::real::program::Invocation;
use serde_json::Value;

use crate::emulated::Emulated;
use crate::shared;
use crate::world::{BASE_ARN, PROGRAMS};

fn preflight(kubeconfig: &Path) -> Invocation {
    Invocation::new(PROGRAMS, &["server", "preflight"])
        .flag("--kubeconfig", kubeconfig.display())
        .flag("--role-base-arn", BASE_ARN)
}

fn findings(preflight: Invocation) -> (i32, Value) {
    let (code, said) = preflight.flag("--json", true).run();
    (code, serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}")))
}

/// Whether something of this kind was found of an object.
fn is_found(findings: &Value, kind: &str, object: &str) -> bool {
    let findings = findings["findings"].as_array().expect("findings");
    let objects = |finding: &Value| finding["objects"].as_array().expect("objects").contains(&object.into());
    findings.iter().any(|finding| finding["kind"] == kind && objects(finding))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_in_which_pods_live_by_kiams_hole_is_told_so() {
    let around = Emulated::start().await;
    let kubeconfig = around.logs.path().join("kubeconfig");
    around.run_pod("reader", "reader");
    let (code, said) = preflight(&kubeconfig).run();
    assert!(code == 0 && said.ends_with("nothing behaves differently\n"), "{said}");

    around.kube.put_namespace("torn", &[(PERMITTED, ".*:role/reader|.*:role/writer")]);
    around.kube.put_pod(&Pod::new("torn", "greedy", "node-a", "127.98.0.1", "reader-of-all"));
    around.kube.put_pod(&Pod::new("torn", "odd", "node-a", "127.98.0.1", "a b"));
    let (code, said) = preflight(&kubeconfig).run();
    assert!(code == 1 && said.contains("✗ pod torn/greedy: ") && said.contains("✗ namespace torn: "), "{said}");
    let (code, found) = findings(preflight(&kubeconfig).by_environment());
    assert_eq!((code, &found["pods"]), (1, &3.into()));
    for (kind, object) in [
        ("loses_role", "pod torn/greedy"),
        ("torn_expression", "namespace torn"),
        ("invalid_annotation", "pod torn/odd"),
        ("shared_address", "pod torn/greedy"),
        ("sessions", "every pod"),
    ] {
        assert!(is_found(&found, kind, object), "{kind} {object} in {found}");
    }
    // Where Kiam does not anchor, there is no hole in its anchors.
    let (code, found) = findings(preflight(&kubeconfig).flag("--disable-strict-namespace-regexp", true));
    assert_eq!((code, &found["good"]), (0, &true.into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_cluster_is_read_with_the_servers_own_rights() {
    let kubernetes = shared::kubernetes().await;
    let client = kubernetes.client().await.expect("the API server is there");
    let namespace = Namespace::create(client, &[(PERMITTED, ".*:role/reader|.*:role/writer")]).await;
    namespace.run("greedy", &[(ROLE, "reader-of-all")]).await;
    namespace.run("modest", &[(ROLE, "reader")]).await;
    let (code, found) = findings(preflight(&kubernetes.server_kubeconfig()));
    assert_eq!(code, 1, "{found}");
    let pod = |name: &str| format!("pod {}/{name}", namespace.name);
    assert!(is_found(&found, "loses_role", &pod("greedy")) && !is_found(&found, "loses_role", &pod("modest")));
    assert!(is_found(&found, "torn_expression", &format!("namespace {}", namespace.name)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_cannot_be_read_is_told_in_one_line() {
    let mut around = Emulated::start().await;
    around.kube.go_away().await;
    let (code, said) = preflight(&around.logs.path().join("kubeconfig")).run();
    assert!(code == 1 && said.lines().count() == 1 && said.contains("cannot read the cluster"), "{said}");
}
