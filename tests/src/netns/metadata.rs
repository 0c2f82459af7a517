//! The instance metadata service of a node in namespaces: at its real addresses, behind the node's `eth0`. It counts
//! every packet that comes to it, whether or not it is a request.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Namespace, sh};
use crate::imds::Imds;

/// The instance metadata service's addresses.
pub const METADATA: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)), IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254))];
/// The addresses of container credentials.
pub const CONTAINER_CREDENTIALS: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(169, 254, 170, 23)), IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23))];

/// What lies behind the node's `eth0`.
#[derive(Debug)]
pub struct MetadataWorld {
    namespace: Namespace,
    services: Vec<Imds>,
}

impl MetadataWorld {
    /// Sets it up, with the node's way to it.
    pub async fn start() -> Self {
        let namespace = Namespace::add("metadata");
        sh("ip link add eth0 type veth peer name eth0 netns metadata
            ip addr add 192.0.2.1/24 dev eth0
            ip addr add fd00:2::1/64 dev eth0 nodad
            ip link set eth0 up");
        namespace.ip("addr add 192.0.2.2/24 dev eth0");
        namespace.ip("addr add fd00:2::2/64 dev eth0 nodad");
        namespace.ip("link set eth0 up");
        namespace.ip("route add default via 192.0.2.1");
        namespace.ip("-6 route add default via fd00:2::1");
        namespace.connected_to("eth0");
        let mut services = Vec::new();
        namespace.sh("nft add table inet seen; nft add counter inet seen came");
        namespace.sh("nft add chain inet seen arriving \"{ type filter hook input priority 0; }\"");
        for address in METADATA.into_iter().chain(CONTAINER_CREDENTIALS) {
            let (family, via) = if address.is_ipv4() { ("ip", "192.0.2.2") } else { ("ip6", "fd00:2::2") };
            namespace.ip(&format!("addr add {address} dev eth0{}", if address.is_ipv4() { "" } else { " nodad" }));
            sh(&format!("ip route add {address} via {via}"));
            namespace.sh(&format!("nft add rule inet seen arriving {family} daddr {address} counter name came"));
            let started = namespace.run(Imds::start_at(SocketAddr::new(address, 80))).await;
            services.push(started.expect("the service listens"));
        }
        Self { namespace, services }
    }

    /// Packets and requests that came.
    pub fn seen(&self) -> (u64, usize) {
        let counter = self.namespace.sh("nft list counter inet seen came");
        let packets = counter.split_once("packets ").and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
        (packets.expect("nft prints the counter"), self.services.iter().map(|service| service.seen().len()).sum())
    }
}
