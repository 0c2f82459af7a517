//! Where the metrics of the fleet are, in the form of Prometheus' `http_sd_configs`.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use kiam_common::ops::Endpoint;
use kiam_proto::encoding::node as wire;
use serde::Serialize;

use crate::grpc::fleet::{Connected, VERSION};

/// One target with its labels.
#[derive(Debug, Serialize)]
struct Target {
    targets: [String; 1],
    labels: BTreeMap<&'static str, String>,
}

/// The server, which listens `here`, and every agent that can be reached: JSON.
pub(super) fn targets(agents: &[Arc<Connected>], here: &Endpoint) -> String {
    let server = target("server", here.address, &here.path, here.tls, VERSION);
    let targets: Vec<Target> = std::iter::once(server).chain(agents.iter().filter_map(|a| agent(a))).collect();
    // Texts and lists of texts are always JSON.
    serde_json::to_string(&targets).unwrap_or_default()
}

fn agent(agent: &Connected) -> Option<Target> {
    let metrics = agent.hello.metrics.as_ref()?;
    let address = reached_at(metrics, agent.peer?.ip())?;
    let mut target = target("agent", address, &metrics.path, metrics.tls, &agent.hello.agent_version);
    target.labels.insert("__meta_kiam_node", agent.node.to_string());
    target.labels.insert("__meta_kiam_zone", agent.hello.zone.clone());
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

/// Where others reach an agent's listener. One on every interface is at the address that the agent connected from; one on
/// its loopback interface is nowhere, unless the agent is on this machine.
fn reached_at(metrics: &wire::MetricsEndpoint, peer: IpAddr) -> Option<SocketAddr> {
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
            let metrics = wire::MetricsEndpoint { address: bound.into(), ..wire::MetricsEndpoint::default() };
            let at = reached_at(&metrics, peer.parse().unwrap()).map(|address| address.to_string());
            assert_eq!(at.as_deref(), reached, "{bound} {peer}");
        }
    }
}
