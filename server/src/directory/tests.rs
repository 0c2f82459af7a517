//! The directory, fed by hand.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::change::{Change, Touched};
use super::pods::{Owner, PodFields, PodIndex};
use super::{Directory, NamespaceIndex};
use crate::fixtures::{directory, identity, namespace, pod, resolver};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// The name of the pod that has an IP.
fn owner(index: &PodIndex, ip: &str) -> Option<String> {
    match index.owner_of(ip.parse().unwrap()) {
        Owner::Pod(pod) => Some(pod.name.to_string()),
        Owner::Unknown => None,
        Owner::Ambiguous(pods) => panic!("ambiguous: {pods:?}"),
    }
}

fn index(pods: &[PodFields]) -> PodIndex {
    let mut index = PodIndex::default();
    for pod in pods {
        index.apply(pod, &resolver());
    }
    index
}

#[test]
fn a_pod_is_found_by_each_of_its_ips() {
    let mut dual_stack = pod("a", "10.0.0.1", None);
    dual_stack.ips = vec![ip("10.0.0.1"), ip("10.0.0.1"), ip("fd00::1")];
    let index = index(&[dual_stack]);
    for ip in ["10.0.0.1", "fd00::1", "::ffff:10.0.0.1"] {
        assert_eq!(owner(&index, ip).as_deref(), Some("a"), "{ip}");
    }
    assert_eq!(owner(&index, "10.0.0.2"), None);
}

#[test]
fn a_nodes_addresses_are_what_its_pods_say_last() {
    let on = |name: &str, node: &str, hosts: &[&str]| PodFields {
        node: Some(node.into()),
        host_network: true,
        host_ips: hosts.iter().map(|host| ip(host)).collect(),
        ..pod(name, "10.0.0.1", None)
    };
    let mut index = index(&[on("a", "east", &["10.1.0.1", "10.1.0.1", "fd00::1"]), on("b", "west", &["10.1.0.2"])]);
    for (node, host, has) in [
        ("east", "10.1.0.1", true),
        ("east", "fd00::1", true),
        ("east", "10.1.0.2", false),
        ("west", "10.1.0.2", true),
        ("north", "10.1.0.1", false),
    ] {
        assert_eq!(index.node_has(node, ip(host)), has, "{node} {host}");
    }
    index.apply(&on("c", "west", &[]), &resolver());
    index.apply(&on("d", "east", &["10.1.0.3"]), &resolver());
    index.apply(&PodFields { finished: true, ..on("e", "east", &["10.1.0.1"]) }, &resolver());
    assert!(index.node_has("west", ip("10.1.0.2")) && index.node_has("east", ip("10.1.0.3")));
    assert!(!index.node_has("east", ip("10.1.0.1")), "what another pod said before, or one that has finished");
}

#[test]
fn an_ipv4_address_in_ipv6_form_is_the_ipv4_address() {
    assert_eq!(owner(&index(&[pod("a", "::ffff:10.0.0.1", None)]), "10.0.0.1").as_deref(), Some("a"));
}

#[test]
fn finished_pods_and_pods_on_the_hosts_network_have_no_ip() {
    let finished = PodFields { finished: true, ..pod("done", "10.0.0.1", Some("reader")) };
    let on_host = PodFields { host_network: true, ..pod("host", "10.0.0.2", Some("reader")) };
    let mut index = index(&[finished, on_host, pod("live", "10.0.0.1", None)]);
    assert_eq!(owner(&index, "10.0.0.1").as_deref(), Some("live"));
    assert_eq!(owner(&index, "10.0.0.2"), None);
    assert!(index.demands(None).is_empty(), "nor do they ask for roles");
    index.apply(&PodFields { finished: true, ..pod("live", "10.0.0.1", None) }, &resolver());
    assert_eq!(owner(&index, "10.0.0.1"), None);
    assert!(index.is_empty());
}

#[test]
fn two_live_pods_with_one_ip_are_ambiguous_until_one_is_gone() {
    let mut index = index(&[pod("a", "10.0.0.1", None), pod("b", "10.0.0.1", None)]);
    assert_eq!(index.owner_of(ip("10.0.0.1")), Owner::Ambiguous(vec!["team/a".into(), "team/b".into()]));
    index.delete(&"uid-of-a".into());
    assert_eq!(owner(&index, "10.0.0.1").as_deref(), Some("b"));
}

#[test]
fn an_ip_moves_with_its_pod() {
    let mut index = index(&[pod("a", "10.0.0.1", None)]);
    index.apply(&pod("a", "10.0.0.2", None), &resolver());
    assert_eq!(owner(&index, "10.0.0.1"), None);
    assert_eq!(owner(&index, "10.0.0.2").as_deref(), Some("a"));
    assert_eq!(index.len(), 1);
}

#[test]
fn a_new_pod_under_an_old_name_replaces_it() {
    let mut index = index(&[pod("a", "10.0.0.1", Some("reader"))]);
    let successor = PodFields { uid: "uid-2".into(), ..pod("a", "10.0.0.2", Some("writer")) };
    let demand = index.apply(&successor, &resolver()).demands.remove(0);
    assert_eq!(demand.identity, identity("writer"));
    assert_eq!(owner(&index, "10.0.0.1"), None);
    index.delete(&"uid-of-a".into());
    assert_eq!(owner(&index, "10.0.0.2").as_deref(), Some("a"), "the late deletion is the predecessor's");
    assert_eq!(index.demands(None).len(), 1);
}

#[test]
fn a_pod_asks_once_for_what_it_wants_and_again_when_that_changes() {
    let mut index = PodIndex::default();
    let mut pending = pod("a", "10.0.0.1", Some("reader"));
    pending.ips.clear();
    assert!(asks(&mut index, &pending), "before it has an IP");
    assert!(!asks(&mut index, &pod("a", "10.0.0.1", Some("reader"))));
    assert!(!asks(&mut index, &pod("a", "10.0.0.1", Some("/reader"))), "the same role");
    assert!(asks(&mut index, &pod("a", "10.0.0.1", Some("writer"))));
    assert!(asks(&mut index, &pod("b", "10.0.0.2", Some("writer"))), "another pod");
}

fn asks(index: &mut PodIndex, fields: &PodFields) -> bool {
    !index.apply(fields, &resolver()).demands.is_empty()
}

#[test]
fn an_identity_is_asked_for_until_its_last_pod_is_gone() {
    let mut index = index(&[pod("a", "10.0.0.1", Some("reader")), pod("b", "10.0.0.2", Some("reader"))]);
    let asking = |index: &PodIndex| index.namespaces_asking_for(&identity("reader")).count();
    index.delete(&"uid-of-a".into());
    assert_eq!(asking(&index), 1);
    index.delete_named("team", "b");
    assert_eq!((asking(&index), index.demands(None).len()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_pod_is_woken_by_its_arrival() {
    let directory = directory();
    let arrival = async {
        sleep(Duration::from_secs(2)).await;
        directory.apply_pod(&pod("other", "10.0.0.9", None));
        sleep(Duration::from_secs(1)).await;
        directory.apply_pod(&pod("a", "10.0.0.1", None));
    };
    let start = Instant::now();
    let (found, ()) = tokio::join!(directory.wait_for_pod(ip("10.0.0.1"), Duration::from_secs(5)), arrival);
    assert!(matches!(found, Owner::Pod(pod) if &*pod.name == "a"));
    assert_eq!(start.elapsed().as_secs(), 3);
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_pod_that_never_comes_is_told_in_time() {
    let start = Instant::now();
    assert_eq!(directory().wait_for_pod(ip("10.0.0.1"), Duration::from_secs(5)).await, Owner::Unknown);
    assert_eq!(start.elapsed().as_secs(), 5);
    assert!(directory().wait_for_rule("team", Duration::ZERO).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_new_list_replaces_the_old_in_one_step() {
    let directory = directory();
    directory.apply_pod(&pod("gone", "10.0.0.1", None));
    let mut draft = PodIndex::default();
    directory.draft_pod(&mut draft, &pod("kept", "10.0.0.2", Some("reader")));
    assert!(now(&directory, "10.0.0.1").await, "the old list answers meanwhile");
    assert!(!now(&directory, "10.0.0.2").await);
    assert_eq!(directory.reset_pods(draft).demands.len(), 1);
    assert!(!now(&directory, "10.0.0.1").await);
    assert!(now(&directory, "10.0.0.2").await);
}

async fn now(directory: &Directory, ip: &str) -> bool {
    directory.wait_for_pod(ip.parse().unwrap(), Duration::ZERO).await != Owner::Unknown
}

#[test]
fn a_role_is_wanted_while_a_namespace_that_permits_it_has_a_pod_for_it() {
    let directory = directory();
    let reader = identity("reader");
    directory.apply_pod(&pod("a", "10.0.0.1", Some("reader")));
    assert!(!directory.is_wanted(&reader), "its namespace is not known");
    assert_eq!(directory.apply_namespace(&namespace(".*writer")).demands.len(), 1);
    assert!(!directory.is_wanted(&reader));
    assert_eq!(directory.apply_namespace(&namespace(".*reader")).demands.len(), 1, "its pods ask again");
    assert!(directory.is_wanted(&reader));
    assert!(directory.apply_namespace(&namespace(".*reader")).demands.is_empty(), "nothing has changed");
    directory.delete_namespace("team");
    assert!(!directory.is_wanted(&reader));
    let mut draft = NamespaceIndex::default();
    directory.draft_namespace(&mut draft, &namespace(".*"));
    assert_eq!(directory.reset_namespaces(draft).demands.len(), 1);
    assert!(directory.is_wanted(&reader));
    assert_eq!((directory.pod_count(), directory.namespace_count()), (1, 1));
}

/// `node ip` of each address that a change touches, without repetitions.
fn touched(change: &Change) -> BTreeSet<String> {
    let Touched::Addresses(addresses) = &change.touched else { panic!("everything is touched") };
    addresses.iter().map(|address| format!("{} {}", address.node, address.ip)).collect()
}

fn on(node: &str, fields: PodFields) -> PodFields {
    PodFields { node: Some(node.into()), ..fields }
}

#[test]
fn a_change_touches_the_addresses_that_the_pod_has_and_had() {
    let mut index = PodIndex::default();
    let change = index.apply(&pod("a", "10.0.0.1", None), &resolver());
    assert_eq!(touched(&change), ["node-1 10.0.0.1".to_owned()].into());
    let change = index.apply(&pod("a", "10.0.0.2", None), &resolver());
    assert_eq!(touched(&change), ["node-1 10.0.0.1".to_owned(), "node-1 10.0.0.2".to_owned()].into());
    let change = index.delete(&"uid-of-a".into()).into();
    assert_eq!(touched(&change), ["node-1 10.0.0.2".to_owned()].into());
    assert_eq!(index.ips_of_node("node-1").count(), 0);
}

#[test]
fn news_of_a_pod_that_say_nothing_new_touch_nothing() {
    let mut index = index(&[pod("a", "10.0.0.1", Some("reader"))]);
    assert_eq!(index.apply(&pod("a", "10.0.0.1", Some("reader")), &resolver()), Change::default());
    assert_eq!(index.delete(&"uid-of-nobody".into()), []);
}

#[test]
fn an_address_that_pods_of_two_nodes_have_is_touched_on_both() {
    let mut index = index(&[on("node-1", pod("a", "10.0.0.1", None))]);
    let both = BTreeSet::from(["node-1 10.0.0.1".to_owned(), "node-2 10.0.0.1".to_owned()]);
    assert_eq!(touched(&index.apply(&on("node-2", pod("b", "10.0.0.1", None)), &resolver())), both);
    assert_eq!(touched(&index.delete_named("team", "b").into()), both);
}

#[test]
fn a_pod_that_is_on_no_node_yet_is_nobodys() {
    let unscheduled = PodFields { node: None, ..pod("a", "10.0.0.1", None) };
    let mut index = PodIndex::default();
    assert!(touched(&index.apply(&unscheduled, &resolver())).is_empty());
    assert!(index.on_node("node-1", ip("10.0.0.1")).is_none());
}

#[test]
fn a_nodes_ips_are_those_of_its_own_pods() {
    let index = index(&[
        on("node-1", pod("a", "10.0.0.1", None)),
        on("node-1", pod("b", "fd00::1", None)),
        on("node-2", pod("c", "10.0.1.1", None)),
    ]);
    let mut ips: Vec<_> = index.ips_of_node("node-1").collect();
    ips.sort_unstable();
    assert_eq!(ips, [ip("10.0.0.1"), ip("fd00::1")]);
    assert_eq!(index.on_node("node-1", ip("10.0.1.1")), None);
}

#[test]
fn a_namespaces_rule_touches_its_pods_and_a_new_list_everything() {
    let directory = directory();
    directory.apply_pod(&pod("a", "10.0.0.1", Some("reader")));
    directory.apply_pod(&PodFields { namespace: "other".into(), ..pod("b", "10.0.0.2", Some("reader")) });
    let team = BTreeSet::from(["node-1 10.0.0.1".to_owned()]);
    assert_eq!(touched(&directory.apply_namespace(&namespace(".*"))), team);
    assert!(touched(&directory.apply_namespace(&namespace(".*"))).is_empty(), "the same rule");
    assert_eq!(touched(&directory.delete_namespace("team")), team);
    assert_eq!(directory.reset_pods(PodIndex::default()).touched, Touched::Everything);
    assert_eq!(directory.reset_namespaces(NamespaceIndex::default()).touched, Touched::Everything);
}

/// What the pod at 10.0.0.1 of a node may have: a role, a reason why not, or nothing that is known.
fn entitled(directory: &Directory, node: &str) -> Option<String> {
    let entitlement = directory.entitlement(node, ip("10.0.0.1"))?;
    Some(match entitlement.outcome() {
        Ok(role) => role.text.to_string(),
        Err(error) => error.reason().as_str().to_owned(),
    })
}

#[test]
fn a_pod_may_have_its_own_role_where_its_namespace_permits_it() {
    let directory = directory();
    assert_eq!(entitled(&directory, "node-1"), None);
    directory.apply_pod(&pod("a", "10.0.0.1", Some("reader")));
    assert_eq!(entitled(&directory, "node-1"), None, "its namespace is not known");
    directory.apply_namespace(&namespace(".*reader"));
    assert_eq!(entitled(&directory, "node-1").as_deref(), Some("reader"));
    assert_eq!(entitled(&directory, "node-2"), None, "it is not there");
    directory.apply_namespace(&namespace(".*writer"));
    assert_eq!(entitled(&directory, "node-1").as_deref(), Some("Forbidden"));
    directory.apply_pod(&pod("a", "10.0.0.1", Some("no role")));
    assert_eq!(entitled(&directory, "node-1").as_deref(), Some("InvalidAnnotation"));
    directory.apply_pod(&pod("a", "10.0.0.1", None));
    assert_eq!(entitled(&directory, "node-1").as_deref(), Some("NoRole"));
}

#[test]
fn an_address_that_two_pods_have_gives_neither_a_role_on_any_node() {
    let directory = directory();
    directory.apply_namespace(&namespace(".*"));
    directory.apply_pod(&on("node-1", pod("a", "10.0.0.1", Some("reader"))));
    directory.apply_pod(&on("node-2", pod("b", "10.0.0.1", Some("reader"))));
    for node in ["node-1", "node-2"] {
        assert_eq!(entitled(&directory, node).as_deref(), Some("PodAmbiguous"), "{node}");
    }
    directory.delete_pod("uid-of-b");
    assert_eq!(entitled(&directory, "node-1").as_deref(), Some("reader"));
    assert_eq!(entitled(&directory, "node-2"), None);
}
