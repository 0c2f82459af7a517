//! A release's life: installed, upgraded, rolled back and taken away; and what becomes of its certificates.

use serde_json::{Value, json};

use crate::cluster::{Cluster, cluster};

/// What a secret holds.
fn secret(cluster: &Cluster, namespace: &str, name: &str) -> Value {
    let data = cluster.get(namespace, &format!("secret/{name}"))["data"].take();
    assert!(data.is_object(), "no secret {name}");
    data
}

#[tokio::test]
async fn a_release_is_installed_upgraded_rolled_back_and_taken_away() {
    let cluster = cluster().await;
    let namespace = cluster.namespace(&[]).await.name;
    let notes = cluster.deploy("install", "kiam-life", &namespace, &json!({}));
    for next in
        ["rollout status deployment/kiam-life-server", "iam.amazonaws.com/permitted", "may assume the pods' roles"]
    {
        assert!(notes.contains(next), "no {next:?} in {notes}");
    }
    let replicas = || cluster.get(&namespace, "deployment/kiam-life-server")["spec"]["replicas"].take();
    assert_eq!(replicas(), 2);

    let more = json!({"server": {"deployment": {"replicas": 3}}});
    cluster.deploy("upgrade", "kiam-life", &namespace, &more);
    assert_eq!(replicas(), 3);
    // A DaemonSet in the Deployment's place, and back.
    cluster.deploy("upgrade", "kiam-life", &namespace, &json!({"server": {"deployment": {"enabled": false}}}));
    assert_eq!(cluster.get(&namespace, "deployment/kiam-life-server"), Value::Null);
    assert!(cluster.get(&namespace, "daemonset/kiam-life-server").is_object());
    cluster.helm.run(&["rollback", "kiam-life", "1", "--namespace", &namespace]);
    assert_eq!(replicas(), 2);

    cluster.helm.run(&["uninstall", "kiam-life", "--namespace", &namespace]);
    let everything =
        "deployments,daemonsets,services,secrets,serviceaccounts,clusterroles,clusterrolebindings,poddisruptionbudgets";
    let of_release = "--selector=app.kubernetes.io/instance=kiam-life";
    let left = cluster.kubernetes.kubectl(&["get", everything, of_release, "--namespace", &namespace, "--output=name"]);
    assert_eq!(left, "", "something is left");
}

#[tokio::test]
async fn certificates_are_kept_over_upgrades_and_renewed_by_the_same_authority() {
    let cluster = cluster().await;
    let namespace = cluster.namespace(&[]).await.name;
    let secrets = || ["agent", "server", "ca"].map(|name| secret(cluster, &namespace, &format!("kiam-kept-{name}")));
    cluster.deploy("install", "kiam-kept", &namespace, &json!({}));
    let first = secrets();
    cluster.deploy("upgrade", "kiam-kept", &namespace, &json!({"server": {"deployment": {"replicas": 3}}}));
    assert!(secrets() == first, "an upgrade made other certificates");

    // As if the agent's were in the second half of its life.
    let old =
        ["annotate", "secret", "kiam-kept-agent", "kiam-rs/renew-after=1", "--overwrite", "--namespace", &namespace];
    cluster.kubernetes.kubectl(&old);
    cluster.deploy("upgrade", "kiam-kept", &namespace, &json!({}));
    let [agent, server, authority] = secrets();
    assert!(agent["cert"] != first[0]["cert"] && agent["key"] != first[0]["key"], "it is not renewed");
    assert!(agent["ca"] == first[0]["ca"] && server == first[1] && authority == first[2], "the others are not kept");
}
