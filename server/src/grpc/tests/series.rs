//! How many series there are, and what those tell that `--metrics-enable` turns on.

use std::collections::BTreeMap;

use kiam_proto::node::node_message::Message as Said;
use kiam_proto::node::{Interception, NodeMessage, Status};

use super::*;
use crate::directory::namespaces::NamespaceFields;
use crate::directory::pods::PodFields;
use crate::policy::namespace::NamespaceAnnotations;

const PODS: u32 = 10_000;
const NAMESPACES: u32 = 20;
const ROLES: u32 = 10;

impl Stand {
    /// How many series each family has; but for the one that all tests of the process share.
    fn series(&self) -> BTreeMap<String, usize> {
        let families = self.registry.gather().into_iter();
        let families = families.filter(|family| family.name() != "grpc_server_handling_seconds");
        families.map(|family| (family.name().to_owned(), family.get_metric().len())).collect()
    }

    /// Pods in several namespaces, the last of which permits nothing, with several roles, of which a few hundred ask.
    async fn crowd(&self, pods: u32) {
        for number in 0..NAMESPACES {
            let permitted = if number + 1 < NAMESPACES { ".*" } else { "nothing" };
            let annotations = NamespaceAnnotations { permitted: Some(permitted.into()), allowed_roles: None };
            self.directory.apply_namespace(&NamespaceFields { name: format!("team-{number}"), annotations });
        }
        for number in 0..pods {
            let ip = std::net::Ipv4Addr::from_bits(0x0a00_0000 + number).to_string();
            let role = format!("role-{}", number % ROLES);
            let namespace = format!("team-{}", number % NAMESPACES);
            let fields = PodFields { namespace, ..pod(&format!("pod-{number}"), &ip, Some(&role)) };
            self.directory.apply_pod(&fields);
            // Some of every namespace and of every role.
            if number < 100 || number % 21 == 0 {
                let _answer = self.credentials(&ip, &role).await;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_pods_are_no_more_series_than_a_hundred() {
    let stand = Stand::new().await;
    stand.crowd(100).await;
    let few = stand.series();
    stand.crowd(PODS).await;
    assert_eq!(stand.series(), few);
}

#[tokio::test(start_paused = true)]
async fn costly_series_grow_with_roles_and_namespaces_and_not_with_pods() {
    let stand = Stand::with_series(&[Costly::Roles, Costly::Namespaces]).await;
    stand.crowd(100).await;
    let few = stand.series();
    stand.crowd(1000).await;
    let many = stand.series();
    assert_eq!(many, few);
    for (family, wanted) in [
        ("kiam_role_requests_total", ROLES),
        ("kiam_role_errors_total", ROLES),
        ("kiam_role_soonest_expiry_seconds", ROLES),
        ("kiam_namespace_requests_total", 2 * NAMESPACES),
    ] {
        assert_eq!(many.get(family).copied(), usize::try_from(wanted).ok(), "{family}");
    }
    assert!(!many.keys().any(|name| name.starts_with("kiam_node_info")));
}

#[tokio::test(start_paused = true)]
async fn each_role_and_namespace_has_its_requests_and_what_became_of_them() {
    let stand = Stand::with_series(&[Costly::Roles, Costly::Namespaces]).await;
    stand.directory.apply_namespace(&namespace(".*:role/reader"));
    stand.directory.apply_pod(&pod("a", "10.0.0.1", Some("reader")));
    stand.directory.apply_pod(&pod("b", "10.0.0.2", Some("writer")));
    stand.credentials("10.0.0.1", "reader").await.unwrap();
    stand.credentials("10.0.0.1", "anything").await.unwrap_err();
    stand.credentials("10.0.0.2", "writer").await.unwrap_err();
    for (series, wanted) in [
        (r#"kiam_role_requests_total{role="arn:aws:iam::123456789012:role/reader"}"#, 2),
        (r#"kiam_role_errors_total{role="arn:aws:iam::123456789012:role/reader"}"#, 1),
        (r#"kiam_role_errors_total{role="arn:aws:iam::123456789012:role/writer"}"#, 1),
        (r#"kiam_role_soonest_expiry_seconds{role="arn:aws:iam::123456789012:role/reader"}"#, 3600),
        (r#"kiam_namespace_requests_total{decision="allowed",namespace="team"}"#, 1),
        (r#"kiam_namespace_requests_total{decision="refused",namespace="team"}"#, 2),
    ] {
        assert_eq!(stand.count(series), wanted, "{series}");
    }
}

#[tokio::test(start_paused = true)]
async fn names_beyond_the_limit_share_a_series() {
    let stand = Stand::with_series(&[Costly::Namespaces]).await;
    for number in 0..5002_u32 {
        let (namespace, ip) = (format!("n-{number}"), std::net::Ipv4Addr::from_bits(0x0a00_0000 + number).to_string());
        stand.directory.apply_pod(&PodFields { namespace, ..pod(&format!("pod-{number}"), &ip, None) });
        stand.credentials(&ip, "reader").await.unwrap_err();
    }
    assert_eq!(stand.count(r#"kiam_namespace_requests_total{decision="refused",namespace="(other)"}"#), 2);
    assert_eq!(stand.series()["kiam_namespace_requests_total"], 2 * 5001);
}

#[tokio::test(start_paused = true)]
async fn each_node_has_its_series_for_as_long_as_its_agent_has_a_stream() {
    let stand = Stand::with_series(&[Costly::Nodes]).await;
    let (silent, agent) = (stand.sync("node-0").await.unwrap(), stand.synced().await);
    let status = |interception: Interception| {
        let status = Status {
            applied_sequence: 1,
            certificate_not_after: 1_800_000_000,
            interception: interception.into(),
            ..Status::default()
        };
        NodeMessage { message: Some(Said::Status(status)) }
    };
    agent.says.send(status(Interception::Healthy)).await.unwrap();
    settle().await;
    let version = kiam_common::VERSION;
    for (series, wanted) in [
        (format!(r#"kiam_node_info{{binding="off",config_hash="c0ffee",node="node-1",version="{version}"}}"#), 1),
        (r#"kiam_node_certificate_expiry_seconds{node="node-1"}"#.into(), 1_800_000_000),
        (r#"kiam_node_unapplied_messages{node="node-1"}"#.into(), 1),
        (r#"kiam_node_interception_healthy{node="node-1"}"#.into(), 1),
        (r#"kiam_node_last_seen_seconds{node="node-0"}"#.into(), 1_795_255_200),
        ("kiam_nodes_first_certificate_expiry_seconds".into(), 1_800_000_000),
        ("kiam_nodes_oldest_seen_seconds".into(), 1_795_255_200),
        ("kiam_nodes_configurations".into(), 1),
        ("kiam_nodes_interception_broken".into(), 0),
        (r#"kiam_connections{state="active"}"#.into(), 1),
    ] {
        assert_eq!(stand.count(&series), wanted, "{series}");
    }
    let series = stand.series();
    assert_eq!((series["kiam_node_info"], series["kiam_node_certificate_expiry_seconds"]), (2, 1));
    agent.says.send(status(Interception::Broken)).await.unwrap();
    settle().await;
    assert_eq!(stand.count(r#"kiam_node_interception_healthy{node="node-1"}"#), 0);
    assert_eq!(stand.count("kiam_nodes_interception_broken"), 1);
    drop((silent, agent));
    settle().await;
    let gone = stand.series();
    assert!(!gone.contains_key("kiam_node_info") && !gone.contains_key("kiam_nodes_oldest_seen_seconds"), "{gone:?}");
    assert_eq!(stand.count(r#"kiam_connections{state="idle"}"#), 1);
}
