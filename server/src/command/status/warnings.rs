//! What somebody should look at in a fleet.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use super::Server;
use super::nodes::{Node, Rules};

/// A certificate that ends sooner is warned of.
const CERTIFICATE_ENDS_SOON: Duration = Duration::from_hours(7 * 24);
/// How many nodes are named at most.
const NAMED: usize = 5;

/// One line for each.
pub(super) fn of(servers: &[Server], nodes: &[Node], now: Timestamp) -> Vec<String> {
    let mut warnings: Vec<String> = servers.iter().filter_map(of_server).collect();
    let versions: BTreeSet<&str> = servers.iter().map(|server| &*server.version).filter(|it| !it.is_empty()).collect();
    if versions.len() > 1 {
        let versions: Vec<&str> = versions.into_iter().collect();
        warnings.push(format!("servers have different versions: {}", versions.join(", ")));
    }
    let such = |what: &str, wanted: &dyn Fn(&Node) -> bool| {
        let names: BTreeSet<&str> = nodes.iter().filter(|node| wanted(node)).map(|node| &*node.name).collect();
        (!names.is_empty()).then(|| format!("{what}: {}", named(&names)))
    };
    let ends_soon = |node: &Node| node.certificate_ends.is_some_and(|ends| ends <= now + CERTIFICATE_ENDS_SOON);
    warnings.extend(such("agents have another version than their server", &|node| node.version != node.server_version));
    warnings.extend(configurations(nodes));
    warnings.extend(such("interception is broken", &|node| node.interception == Rules::Broken));
    warnings.extend(such("the agent's certificate ends within 7 days, or has ended", &ends_soon));
    warnings
}

fn of_server(server: &Server) -> Option<String> {
    let Server { address, waiting_for, error, .. } = server;
    match error {
        Some(error) => Some(format!("{address} does not answer: {error}")),
        None if waiting_for.is_empty() => None,
        None => Some(format!("{address} is not ready: it waits for {}", waiting_for.join(", "))),
    }
}

/// The ways in which agents are set up, the most common first.
fn configurations(nodes: &[Node]) -> Option<String> {
    let mut ways = BTreeMap::<&str, BTreeSet<&str>>::new();
    for node in nodes {
        ways.entry(&node.config).or_default().insert(&node.name);
    }
    if ways.len() < 2 {
        return None;
    }
    let mut ways: Vec<_> = ways.into_iter().collect();
    ways.sort_by_key(|(_, names)| std::cmp::Reverse(names.len()));
    let told = |(config, names): &(&str, BTreeSet<&str>)| format!("{config:.16} ({})", named(names));
    let told: Vec<String> = ways.iter().take(NAMED).map(told).collect();
    Some(format!("agents are set up in {} ways: {}", ways.len(), told.join(", ")))
}

fn named(names: &BTreeSet<&str>) -> String {
    let some: Vec<&str> = names.iter().take(NAMED).copied().collect();
    match names.len() - some.len() {
        0 => some.join(", "),
        more => format!("{} and {more} more", some.join(", ")),
    }
}
