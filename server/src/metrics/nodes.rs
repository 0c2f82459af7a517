//! What the fleet looks like, read at each scrape: a few sums always, and each node where `--metrics-enable` says so.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use kiam_common::registry::Registry;
use kiam_proto::encoding::node::{Interception, Node, Status};
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Error, IntGauge, IntGaugeVec, Opts};

use super::{Costly, size};
use crate::grpc::fleet::Fleet;

/// Registers what is told of the fleet.
pub fn fleet(registry: &Registry, fleet: &Arc<Fleet>, costly: &[Costly]) -> Result<(), Error> {
    let sized = |name: &str, help: &str, read: fn(&Fleet) -> usize| {
        let fleet = Arc::clone(fleet);
        size(registry, name, help, move || read(&fleet))
    };
    sized("kiam_nodes_connected", "Nodes whose agents have a stream", Fleet::nodes)?;
    sized("kiam_nodes_version_mismatch", "Streams of agents whose version is not the server's", Fleet::other_versions)?;
    sized("kiam_nodes_configurations", "Different configurations that agents run with", |fleet| {
        fleet.list().into_iter().map(|node| node.config_hash).collect::<BTreeSet<_>>().len()
    })?;
    sized("kiam_nodes_interception_broken", "Agents whose rules are not whole", |fleet| {
        fleet.list().iter().filter(|node| interception(node) == Interception::Broken).count()
    })?;
    registry.register(Box::new(Firsts::new(fleet)?))?;
    if costly.contains(&Costly::Nodes) {
        registry.register(Box::new(EachNode::new(fleet)?))?;
    }
    Ok(())
}

fn interception(node: &Node) -> Interception {
    node.status.as_ref().map(Status::interception).unwrap_or_default()
}

/// When the agent's certificate ends, if it has said.
fn certificate_expiry(node: &Node) -> Option<i64> {
    node.status.as_ref().map(|status| status.certificate_not_after).filter(|end| *end != 0)
}

/// The times that come first. Where there is no node there is no such sample.
struct Firsts {
    fleet: Arc<Fleet>,
    seen: IntGauge,
    expiry: IntGauge,
}

impl Firsts {
    fn new(fleet: &Arc<Fleet>) -> Result<Self, Error> {
        let seen = "When the node that was heard of longest ago was, in seconds since the Unix epoch";
        let expiry = "When the first of the agents' certificates ends, in seconds since the Unix epoch";
        Ok(Self {
            fleet: Arc::clone(fleet),
            seen: IntGauge::new("kiam_nodes_oldest_seen_seconds", seen)?,
            expiry: IntGauge::new("kiam_nodes_first_certificate_expiry_seconds", expiry)?,
        })
    }
}

impl Collector for Firsts {
    fn desc(&self) -> Vec<&Desc> {
        [self.seen.desc(), self.expiry.desc()].concat()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let nodes = self.fleet.list();
        let seen = nodes.iter().map(|node| node.last_seen).min();
        let expiry = nodes.iter().filter_map(certificate_expiry).min();
        let mut families = Vec::new();
        for (gauge, first) in [(&self.seen, seen), (&self.expiry, expiry)] {
            if let Some(first) = first {
                gauge.set(first);
                families.extend(gauge.collect());
            }
        }
        families
    }
}

/// Series of each node.
struct EachNode {
    fleet: Arc<Fleet>,
    info: IntGaugeVec,
    last_seen: IntGaugeVec,
    certificate_expiry: IntGaugeVec,
    unapplied: IntGaugeVec,
    interception: IntGaugeVec,
    /// Held while the series are made anew.
    scrape: Mutex<()>,
}

impl EachNode {
    fn new(fleet: &Arc<Fleet>) -> Result<Self, Error> {
        let of_node = |name: &str, help: &str| IntGaugeVec::new(Opts::new(name, help), &["node"]);
        let info = Opts::new("kiam_node_info", "1, labelled with what the node's agent is");
        Ok(Self {
            fleet: Arc::clone(fleet),
            info: IntGaugeVec::new(info, &["node", "version", "config_hash", "binding"])?,
            last_seen: of_node("kiam_node_last_seen_seconds", "When it was heard of, in seconds since the Unix epoch")?,
            certificate_expiry: of_node(
                "kiam_node_certificate_expiry_seconds",
                "When its agent's certificate ends, in seconds since the Unix epoch",
            )?,
            unapplied: of_node("kiam_node_unapplied_messages", "Messages sent to it that are not in effect yet")?,
            interception: of_node("kiam_node_interception_healthy", "1 if its rules are whole, if it keeps any")?,
            scrape: Mutex::default(),
        })
    }

    fn parts(&self) -> [&IntGaugeVec; 5] {
        [&self.info, &self.last_seen, &self.certificate_expiry, &self.unapplied, &self.interception]
    }

    fn show(&self, name: &str, node: &Node) {
        let Node { agent_version, config_hash, binding, .. } = node;
        self.info.with_label_values(&[name, agent_version.as_str(), config_hash, binding]).set(1);
        self.last_seen.with_label_values(&[name]).set(node.last_seen);
        if let Some(end) = certificate_expiry(node) {
            self.certificate_expiry.with_label_values(&[name]).set(end);
        }
        let applied = node.status.as_ref().map_or(0, |status| status.applied_sequence);
        let unapplied = i64::try_from(node.sent_sequence.saturating_sub(applied)).unwrap_or(i64::MAX);
        self.unapplied.with_label_values(&[name]).set(unapplied);
        match interception(node) {
            Interception::Unspecified => {}
            rules => self.interception.with_label_values(&[name]).set((rules == Interception::Healthy).into()),
        }
    }
}

impl Collector for EachNode {
    fn desc(&self) -> Vec<&Desc> {
        self.parts().into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let _alone = self.scrape.lock().unwrap_or_else(PoisonError::into_inner);
        for part in self.parts() {
            part.reset();
        }
        // Of a node's streams, the one that began last.
        let nodes: BTreeMap<_, _> = self.fleet.list().into_iter().map(|node| (node.name.clone(), node)).collect();
        for (name, node) in &nodes {
            self.show(name, node);
        }
        self.parts().into_iter().flat_map(Collector::collect).collect()
    }
}
