//! Where the metrics of the fleet are, in the form of Prometheus' `http_sd_configs`.

use std::collections::BTreeMap;
use std::iter;
use std::net::{IpAddr, SocketAddr};

use kiam_common::ops::Endpoint;
use kiam_proto::encoding::node::{ListNodesResponse, MetricsEndpoint, Node};
use serde::Serialize;

use crate::grpc::fleet::VERSION;
use crate::peers::{Answer, Peer};

/// One target with its labels.
#[derive(Debug, Serialize)]
struct Target {
    targets: [String; 1],
    labels: BTreeMap<&'static str, String>,
}

/// The server, which listens `here`, the others, and every agent that can be reached: JSON.
pub(super) fn targets(agents: &[Node], others: &[Answer], here: &Endpoint) -> String {
    let here = target("server", here.address, &here.path, here.tls, VERSION);
    let others = others.iter().filter_map(|answer| answer.said.as_ref().ok()).filter_map(server);
    let targets: Vec<Target> = iter::once(here).chain(others).chain(agents.iter().filter_map(agent)).collect();
    // Texts and lists of texts are always JSON.
    serde_json::to_string(&targets).unwrap_or_default()
}

fn server((peer, said): &(Peer, ListNodesResponse)) -> Option<Target> {
    let metrics = said.metrics.as_ref()?;
    let address = reached_at(metrics, peer.address.ip())?;
    Some(target("server", address, &metrics.path, metrics.tls, &said.server_version))
}

fn agent(agent: &Node) -> Option<Target> {
    let metrics = agent.metrics.as_ref()?;
    let peer: SocketAddr = agent.peer.parse().ok()?;
    let address = reached_at(metrics, peer.ip())?;
    let mut target = target("agent", address, &metrics.path, metrics.tls, &agent.agent_version);
    target.labels.insert("__meta_kiam_node", agent.name.clone());
    target.labels.insert("__meta_kiam_zone", agent.zone.clone());
    Some(target)
}

fn target(component: &str, address: SocketAddr, path: &str, tls: bool, version: &str) -> Target {
    let scheme = if tls { "https" } else { "http" };
    let labels = [
        ("__metrics_path__", path),
        ("__scheme__", scheme),
        ("__meta_kiam_component", component),
        ("__meta_kiam_version", version),
    ];
    let labels = labels.into_iter().map(|(name, value)| (name, value.to_owned())).collect();
    Target { targets: [address.to_string()], labels }
}

/// Where others reach the listener of a program that was met at `peer`. One on every interface is there; one on the
/// program's loopback interface is nowhere, unless the program is on this machine.
fn reached_at(metrics: &MetricsEndpoint, peer: IpAddr) -> Option<SocketAddr> {
    let bound: SocketAddr = metrics.address.parse().ok()?;
    let peer = peer.to_canonical();
    match bound.ip().to_canonical() {
        ip if ip.is_unspecified() => Some(SocketAddr::new(peer, bound.port())),
        ip if ip.is_loopback() && !peer.is_loopback() => None,
        ip => Some(SocketAddr::new(ip, bound.port())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_where_others_reach_it() {
        for (bound, peer, reached) in [
            ("[::]:9620", "10.0.0.7", Some("10.0.0.7:9620")),
            ("0.0.0.0:9620", "::ffff:10.0.0.7", Some("10.0.0.7:9620")),
            ("0.0.0.0:9620", "fd00::7", Some("[fd00::7]:9620")),
            ("192.168.1.1:9620", "10.0.0.7", Some("192.168.1.1:9620")),
            ("127.0.0.1:9620", "10.0.0.7", None),
            ("127.0.0.1:9620", "127.0.0.1", Some("127.0.0.1:9620")),
            ("nonsense", "10.0.0.7", None),
        ] {
            let metrics = MetricsEndpoint { address: bound.into(), ..MetricsEndpoint::default() };
            let at = reached_at(&metrics, peer.parse().unwrap()).map(|address| address.to_string());
            assert_eq!(at.as_deref(), reached, "{bound} {peer}");
        }
    }
}
