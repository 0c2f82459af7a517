//! The Kubernetes API as kubectl sees it.

use std::path::PathBuf;

use kiam_tests::kube_api::{KubeApi, Pod};
use kiam_tests::real::installed;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// A kubectl that speaks to `api`; all it writes comes back.
struct Kubectl {
    program: PathBuf,
    server: String,
}

impl Kubectl {
    async fn run(&self, arguments: &str) -> String {
        self.run_with("", arguments).await
    }

    async fn run_with(&self, input: &str, arguments: &str) -> String {
        let mut child = Command::new(&self.program)
            .args(["--kubeconfig=/dev/null", "--server", &self.server, "--request-timeout=10s"])
            .args(arguments.split(' '))
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
        let output = child.wait_with_output().await.unwrap();
        let (told, complained) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        assert!(output.status.success(), "kubectl {arguments}: {complained}");
        told
    }
}

const MANIFEST: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: team-b, annotations: {iam.amazonaws.com/permitted: ".*"}}
---
apiVersion: v1
kind: Pod
metadata: {name: writer, namespace: team-b, annotations: {iam.amazonaws.com/role: writer}}
spec: {containers: [{name: main, image: app, env: [{name: REGION, value: eu-west-1}]}]}
"#;

#[tokio::test]
async fn kubectl_reads_and_changes_pods_and_namespaces() {
    let program = installed("KUBEBUILDER_ASSETS").join("kubectl");
    let api = KubeApi::start().await.unwrap();
    api.put_namespace("team-a", &[]);
    api.put_pod(&Pod::new("team-a", "reader", "node-a", "127.1.0.1", "reader"));
    let kubectl = Kubectl { program, server: api.url() };

    let table = kubectl.run("get pods --all-namespaces").await;
    assert!(table.contains("ROLE") && table.contains("127.1.0.1"), "{table}");
    assert!(kubectl.run("describe pod reader -n team-a").await.contains("iam.amazonaws.com/role: reader"));
    kubectl.run("annotate pod reader -n team-a --overwrite iam.amazonaws.com/role=writer").await;
    kubectl.run("label pod reader -n team-a app=shop").await;
    let role = "get pods -n team-a -l app=shop -o jsonpath={.items[0].metadata.annotations}";
    assert_eq!(kubectl.run(role).await, r#"{"iam.amazonaws.com/role":"writer"}"#);

    assert!(kubectl.run_with(MANIFEST, "apply -f -").await.contains("pod/writer created"));
    let changed = MANIFEST.replace("eu-west-1", "eu-west-2");
    let told = kubectl.run_with(&changed, "apply -f -").await;
    assert!(told.contains("namespace/team-b unchanged") && told.contains("pod/writer configured"), "{told}");
    let region = "get pod writer -n team-b -o jsonpath={.spec.containers[0].env[0].value}";
    assert_eq!(kubectl.run(region).await, "eu-west-2");

    kubectl.run("create namespace team-c").await;
    kubectl.run("delete pod reader -n team-a").await;
    kubectl.run("delete namespace team-b team-c").await;
    assert!(api.pods().is_empty());
    assert_eq!(kubectl.run("get namespaces -o name").await, "namespace/default\nnamespace/team-a\n");
}
