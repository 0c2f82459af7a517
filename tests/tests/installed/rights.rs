//! What the chart's role lets the server do, right by right: without any one of them something fails, and says so.

use std::collections::BTreeSet;
use std::fmt;

use http::StatusCode;
use kiam_tests::real::eventually;
use kiam_tests::real::namespace::{Namespace, PERMITTED};
use serde_json::{Value, json};

use crate::cluster::{Cluster, cluster};
use crate::programs::{Installed, Programs, metrics_for, reader};

/// A resource, with its group if it has one, and a verb.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Right {
    group: String,
    resource: String,
    verb: String,
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)
    }
}

/// Every right that a role's rules give.
fn rights(rules: &Value) -> BTreeSet<Right> {
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().expect("a list").iter().map(|text| text.as_str().expect("a text").into()).collect()
    };
    let mut rights = BTreeSet::new();
    for rule in rules.as_array().expect("rules") {
        for group in texts(&rule["apiGroups"]) {
            for resource in texts(&rule["resources"]) {
                for verb in texts(&rule["verbs"]) {
                    rights.insert(Right { group: group.clone(), resource: resource.clone(), verb });
                }
            }
        }
    }
    rights
}

/// What the server's role in a release of the chart gives.
pub(crate) fn rights_of(cluster: &Cluster, namespace: &str, release: &str) -> BTreeSet<Right> {
    rights(&cluster.get(namespace, &format!("clusterrole/{release}-server"))["rules"])
}

/// Makes an account that has these rights alone.
pub(crate) async fn account(cluster: &Cluster, namespace: &str, name: &str, rights: &[&Right]) {
    let granted =
        |right: &&Right| json!({"apiGroups": [right.group], "resources": [right.resource], "verbs": [right.verb]});
    let rules: Vec<Value> = rights.iter().map(granted).collect();
    let role = format!("{namespace}-{name}");
    let version = "rbac.authorization.k8s.io/v1";
    let list = json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace}},
        {"apiVersion": version, "kind": "ClusterRole", "metadata": {"name": role}, "rules": rules},
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": role},
         "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
         "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}]},
    ]});
    cluster.kubernetes.feed_kubectl(&["apply"], &list.to_string()).expect("the account is taken");
    let Right { resource, verb, .. } = rights[0];
    let effective = async || cluster.kubernetes.account_may(namespace, name, verb, resource).then_some(());
    eventually("the account's rights to take effect", effective).await;
}

/// Runs a server that lacks one right, and sees what fails.
async fn assert_missed(cluster: &Cluster, namespace: &Namespace, right: &Right, others: &[&Right]) {
    let name = format!("without-{}-{}", right.verb, right.resource);
    account(cluster, &namespace.name, &name, others).await;
    let programs = Programs::start(&Installed {
        cluster,
        namespace: &namespace.name,
        server: "deployment/kiam-rights-server",
        agent: "daemonset/kiam-rights-agent",
        account: Some(&name),
        open_metrics: right.resource != "subjectaccessreviews",
    })
    .await;
    let resource = right.resource.as_str();
    match (resource, right.verb.as_str()) {
        ("pods" | "namespaces", "list") => {
            programs.counted(&format!("kiam_k8s_watch_errors_total{{resource=\"{resource}\"}}")).await;
            let ready = programs.page("/ready").await;
            assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
            assert!(ready.body.contains(resource), "{}", ready.body);
        }
        ("pods" | "namespaces", "watch") => {
            programs.counted(&format!("kiam_k8s_watch_errors_total{{resource=\"{resource}\"}}")).await;
            // What is new stays unknown.
            let namespace = cluster.namespace(&[(PERMITTED, ".*")]).await;
            let answer = programs.ask(&reader(&namespace, "late").await).await;
            assert_ne!(answer.status, StatusCode::OK, "{}", answer.body);
        }
        ("events", "create") => {
            programs.ready().await;
            let pod = reader(&cluster.namespace(&[]).await, "refused").await;
            assert_eq!(programs.ask(&pod).await.field("Code"), "Forbidden");
            programs.counted("kiam_k8s_events_dropped_total").await;
        }
        ("events", "patch") => {
            programs.ready().await;
            let namespace = cluster.namespace(&[]).await;
            let pod = reader(&namespace, "refused").await;
            for _ in 0..2 {
                assert_eq!(programs.ask(&pod).await.field("Code"), "Forbidden");
            }
            programs.counted("kiam_k8s_events_dropped_total").await;
            let counts: Vec<_> = namespace.events(&pod).await.into_iter().map(|event| event.count).collect();
            assert_eq!(counts, [Some(1)], "the second is told nobody");
        }
        ("tokenreviews", "create") => {
            programs.ready().await;
            let answer = programs.ask(&reader(namespace, "unreviewed").await).await;
            assert!(answer.body.contains("the agent's service account token"), "{}", answer.body);
            programs.counted("kiam_token_reviews_total{outcome=\"failed\"}").await;
        }
        ("subjectaccessreviews", "create") => {
            let token = cluster.kubernetes.token(&namespace.name, "kiam-rights-agent");
            let answer = metrics_for(&token, &programs.server).await;
            assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{}", answer.body);
        }
        _ => panic!("nothing is known to need {right:?}: take it out of the role"),
    }
}

#[tokio::test]
async fn without_any_one_of_its_rights_the_server_fails_at_something_and_says_so() {
    let cluster = cluster().await;
    let namespace = cluster.namespace(&[(PERMITTED, ".*")]).await;
    cluster.deploy("install", "kiam-rights", &namespace.name, &json!({}));
    let all = rights_of(cluster, &namespace.name, "kiam-rights");
    for right in &all {
        let others: Vec<&Right> = all.iter().filter(|other| *other != right).collect();
        assert_missed(cluster, &namespace, right, &others).await;
    }
}

#[tokio::test]
async fn the_chart_and_the_manifests_give_the_same_rights() {
    let cluster = cluster().await;
    let namespace = cluster.namespace(&[]).await;
    cluster.deploy("install", "kiam-same", &namespace.name, &json!({}));
    let charts = rights_of(cluster, &namespace.name, "kiam-same");
    // Every API server of the tests has this one: it is what the end-to-end tests run servers with.
    assert_eq!(charts, rights(&cluster.get("kube-system", "clusterrole/kiam-server")["rules"]));
}
