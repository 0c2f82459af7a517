//! What pods ask the metadata addresses, the agent answers, whatever their interfaces are called; what the node itself
//! asks, the metadata service does.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use kiam_tests::imds::NODE_ROLE;
use kiam_tests::netns::{METADATA, Pod, World, inside};
use kiam_tests::real::http::get;

use crate::backends::{BINARY, Backend};

/// Two pods of a network plugin, and the patterns that mean their interfaces.
fn pods(world: &mut World, plugin: &str) -> (Vec<Pod>, &'static str) {
    match plugin {
        "VPC CNI, a pod with security groups" => (vec![world.pod("eni0a1b"), world.pod("vlan.eth.1")], "eni+,vlan+"),
        "Calico" => (vec![world.pod("cali123"), world.pod("cali456")], "cali+"),
        "Cilium" => (vec![world.pod("lxc123"), world.pod("lxc456")], "lxc+"),
        "a bridge" => (vec![world.pod_on_bridge("cni0"), world.pod_on_bridge("cni0")], "cni0"),
        "all but eth0" => (vec![world.pod("other1"), world.pod("other2")], "!eth0"),
        _ => panic!("{plugin}"),
    }
}

async fn pods_reach_the_agent(backend: Backend) {
    let mut world = World::start(BINARY).await;
    for plugin in ["VPC CNI, a pod with security groups", "Calico", "Cilium", "a bridge", "all but eth0"] {
        let (pods, interfaces) = pods(&mut world, plugin);
        let before = world.metadata.seen();
        let mut agent = world.agent(&backend.flags(interfaces), &backend.path()).await.unwrap();
        for pod in &pods {
            for address in METADATA {
                assert_eq!(pod.role_at(address).await, pod.role, "{backend:?}, {plugin}, {address}");
            }
        }
        assert_eq!(world.metadata.seen(), before, "{backend:?}, {plugin}: a pod reached the metadata service");
        agent.kill().await.unwrap();
        assert_eq!(backend.command("remove", interfaces).0, Some(0));
    }
}

#[test]
fn by_nftables_pods_reach_the_agent_with_their_own_address() {
    inside(pods_reach_the_agent(Backend::Nftables));
}

#[test]
fn by_iptables_pods_reach_the_agent_with_their_own_address() {
    inside(pods_reach_the_agent(Backend::Iptables));
}

#[test]
fn by_older_iptables_pods_reach_the_agent_with_their_own_address() {
    inside(pods_reach_the_agent(Backend::IptablesLegacy));
}

#[test]
fn without_rules_a_pod_has_the_nodes_role_and_with_them_only_the_node_has() {
    inside(async {
        let mut world = World::start(BINARY).await;
        let pod = world.pod("eni1");
        for address in METADATA {
            assert_eq!(pod.role_at(address).await, NODE_ROLE, "{address}");
        }
        let _agent = world.agent(&Backend::Nftables.flags("!eth0"), "").await.unwrap();
        let (_, before) = world.metadata.seen();
        for address in METADATA {
            assert_eq!(pod.role_at(address).await, pod.role);
            let nobody =
                if address.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { Ipv6Addr::UNSPECIFIED.into() };
            let asked = get(nobody, (address, 80).into(), "/latest/meta-data/iam/security-credentials/").await;
            assert_eq!(asked.body, NODE_ROLE);
        }
        assert_eq!(world.metadata.seen().1, before + 2);
    });
}
