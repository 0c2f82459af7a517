//! What is found in a cluster, kind by kind.

use super::judge::Kind;
use super::*;
use crate::directory::namespaces::NamespaceFields;
use crate::directory::pods::PodFields;
use crate::fixtures::{namespace, pod};
use crate::policy::namespace::NamespaceAnnotations;

fn preflight(permitted: &str, pods: Vec<PodFields>) -> Preflight {
    let listed = Listed { pods, namespaces: vec![namespace(permitted)], skipped: Vec::new() };
    Preflight::new(&listed, settings(true))
}

fn settings(anchored: bool) -> Settings {
    Settings { base: "arn:aws:iam::123456789012:role/".parse().unwrap(), anchored }
}

/// Of what kinds the findings are, but for that of sessions, and of which objects.
fn found(preflight: &Preflight) -> Vec<(Kind, Vec<&str>)> {
    let findings = preflight.findings.iter().filter(|finding| finding.kind != Kind::Sessions);
    findings.map(|finding| (finding.kind, finding.objects.iter().map(String::as_str).collect())).collect()
}

#[test]
fn a_cluster_in_which_nothing_changes_is_told_of_the_longer_sessions_only() {
    let with_role = preflight(".*:role/(reader|writer)", vec![pod("a", "10.0.0.1", Some("reader"))]);
    assert!(found(&with_role).is_empty() && with_role.good);
    let text = with_role.to_text();
    assert!(text.contains("sessions last 60 minutes") && text.ends_with("nothing behaves differently\n"), "{text}");
    assert!(preflight(".*", vec![pod("a", "10.0.0.1", None)]).findings.is_empty());
}

#[test]
fn pods_that_live_by_the_hole_in_kiams_anchors_lose_their_roles() {
    let pods = vec![
        pod("a", "10.0.0.1", Some("reader")),
        pod("b", "10.0.0.2", Some("reader-of-all")),
        pod("c", "10.0.0.3", Some("reader-of-all")),
    ];
    let preflight = preflight(".*:role/reader|.*:role/writer", pods.clone());
    let expected =
        [(Kind::LosesRole, vec!["pod team/b", "pod team/c"]), (Kind::TornExpression, vec!["namespace team"])];
    assert_eq!(found(&preflight), expected);
    assert!(!preflight.good);
    let text = preflight.to_text();
    assert!(
        text.contains("✗ pod team/b, pod team/c: arn:aws:iam::123456789012:role/reader-of-all does not match"),
        "{text}"
    );
    let listed = Listed { pods, namespaces: vec![namespace("role/reader|role/writer")], skipped: Vec::new() };
    assert!(Preflight::new(&listed, settings(false)).good, "without anchors there is no hole");
}

#[test]
fn expressions_and_annotations_that_cannot_be_understood_are_named() {
    let odd = vec![pod("a", "10.0.0.1", Some("a b")), pod("b", "10.0.0.2", Some("reader"))];
    let preflight = preflight("(", odd);
    let expected = [
        (Kind::InvalidExpression, vec!["namespace team"]),
        (Kind::Denied, vec!["pod team/b"]),
        (Kind::InvalidAnnotation, vec!["pod team/a"]),
    ];
    assert_eq!(found(&preflight), expected);
}

#[test]
fn what_kiam_denies_too_is_worth_knowing_and_changes_nothing() {
    let preflight = preflight("writer", vec![pod("a", "10.0.0.1", Some("reader"))]);
    assert_eq!(found(&preflight), [(Kind::Denied, vec!["pod team/a"])]);
    assert!(preflight.good);
}

#[test]
fn addresses_that_pods_share_and_pods_without_one_of_their_own_are_named() {
    let pods = vec![
        pod("a", "10.0.0.1", Some("reader")),
        pod("b", "10.0.0.1", None),
        PodFields { finished: true, ..pod("done", "10.0.0.1", Some("reader")) },
        PodFields { host_network: true, ..pod("host", "10.1.0.1", Some("reader")) },
        PodFields { host_network: true, ..pod("other", "10.1.0.1", None) },
    ];
    let preflight = preflight(".*", pods);
    assert_eq!(
        found(&preflight),
        [(Kind::SharedAddress, vec!["pod team/a"]), (Kind::HostNetwork, vec!["pod team/host"]),]
    );
    assert!(preflight.good);
}

#[test]
fn namespaces_of_kube2iam_and_objects_that_cannot_be_read_are_named() {
    let annotations = NamespaceAnnotations { permitted: None, allowed_roles: Some("[]".into()) };
    let namespaces = vec![NamespaceFields { name: "old".into(), annotations }];
    let listed = Listed { pods: Vec::new(), namespaces, skipped: vec!["Pod team/odd: status.podIP".into()] };
    let preflight = Preflight::new(&listed, settings(true));
    assert_eq!(found(&preflight), [(Kind::Kube2iam, vec!["namespace old"]), (Kind::Unreadable, vec!["object"])]);
    assert!(preflight.to_text().contains("Pod team/odd: status.podIP"));
}

#[test]
fn json_names_every_object_and_the_text_a_few() {
    let pods = (0..9).map(|n| pod(&format!("p{n}"), &format!("10.0.0.{n}"), Some("reader"))).collect();
    let preflight = preflight("writer", pods);
    let json = serde_json::to_value(&preflight).unwrap();
    assert_eq!((&json["pods"], &json["good"]), (&9.into(), &true.into()));
    let finding = &json["findings"][0];
    assert_eq!((&finding["kind"], &finding["changes"]), (&"denied".into(), &false.into()));
    assert_eq!(finding["objects"].as_array().unwrap().len(), 9);
    assert!(preflight.to_text().contains("pod team/p4 and 4 more: "), "{}", preflight.to_text());
}
