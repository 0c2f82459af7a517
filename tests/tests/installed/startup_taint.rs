//! New nodes lose their startup taint by the rights that the chart gives for it, and keep it without any of them.

use std::collections::BTreeSet;

use kiam_tests::real::namespace::Namespace;
use serde_json::json;

use crate::cluster::{Cluster, cluster};
use crate::container::NODE;
use crate::programs::{Installed, Programs};
use crate::rights::{Right, account, rights_of};

const KEY: &str = "example.com/agent-not-ready";

/// Makes the node that the agent is on, with the startup taint and another, or gives it both again.
fn taint(cluster: &Cluster) {
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}});
    cluster.kubernetes.feed_kubectl(&["apply"], &node.to_string()).expect("the node is taken");
    let taints = [&format!("{KEY}=true:NoSchedule"), "example.com/gpu:NoExecute"];
    cluster.kubernetes.kubectl(&["taint", "node", NODE, "--overwrite", taints[0], taints[1]]);
}

/// The keys of the node's taints. (The API server has one of its own for nodes that are new.)
fn taints(cluster: &Cluster) -> BTreeSet<String> {
    let node = cluster.get("default", &format!("node/{NODE}"));
    let taints = node["spec"]["taints"].as_array().expect("taints");
    let keys = taints.iter().map(|taint| taint["key"].as_str().expect("a key").to_owned());
    keys.filter(|key| key.starts_with("example.com/")).collect()
}

/// Runs the release's programs, with another account of the server's perhaps, until they have looked at the node.
async fn run(cluster: &Cluster, namespace: &Namespace, account: Option<&str>, outcome: &str) -> Programs {
    let programs = Programs::start(&Installed {
        cluster,
        namespace: &namespace.name,
        server: "deployment/kiam-taint-server",
        agent: "daemonset/kiam-taint-agent",
        account,
        open_metrics: true,
    })
    .await;
    programs.counted(&format!("kiam_startup_taints_total{{outcome=\"{outcome}\"}}")).await;
    programs
}

/// The only test here with a node: the API server is shared.
#[tokio::test]
async fn a_new_node_loses_its_startup_taint_by_two_rights_that_the_chart_gives_for_it() {
    let cluster = cluster().await;
    let namespace = cluster.namespace(&[]).await;
    cluster.deploy("install", "kiam-taint", &namespace.name, &json!({}));
    let usual = rights_of(cluster, &namespace.name, "kiam-taint");
    cluster.deploy("upgrade", "kiam-taint", &namespace.name, &json!({"server": {"startupTaint": KEY}}));
    let all = rights_of(cluster, &namespace.name, "kiam-taint");
    let further: Vec<&Right> = all.difference(&usual).collect();
    assert_eq!(further.iter().map(ToString::to_string).collect::<Vec<_>>(), ["get nodes", "patch nodes"]);
    assert!(usual.is_subset(&all));

    taint(cluster);
    let tainted = BTreeSet::from([KEY.to_owned(), "example.com/gpu".to_owned()]);
    for right in further {
        let name = format!("without-{}", right.to_string().replace(' ', "-"));
        let others: Vec<&Right> = all.iter().filter(|other| *other != right).collect();
        account(cluster, &namespace.name, &name, &others).await;
        let programs = run(cluster, &namespace, Some(&name), "failed").await;
        assert_eq!(taints(cluster), tainted, "without the right to {right}");
        let log = programs.log();
        assert!(log.contains("could not take the startup taint away") && log.contains("forbidden"), "{log}");
    }
    let programs = run(cluster, &namespace, None, "removed").await;
    assert_eq!(taints(cluster), BTreeSet::from(["example.com/gpu".to_owned()]));
    assert!(programs.log().contains("took the startup taint away"));
}
