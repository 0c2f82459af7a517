//! The streams that are open: which nodes this server supplies now, and how their agents are. [`super::view`] tells of
//! them.

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use kiam_proto::METRICS_FEATURE;
use kiam_proto::encoding::node as wire;

use crate::explain::{Said, Supplied};
use crate::startup_taint::Agent;

use super::errand::Errand;

/// The version of this server, to compare those of agents with.
pub(crate) use kiam_common::VERSION;

/// The streams that are open.
#[derive(Debug)]
pub struct Fleet {
    instance: String,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    streams: BTreeMap<u64, Arc<Connected>>,
    last_number: u64,
}

/// An agent that has a stream.
#[derive(Debug)]
pub(crate) struct Connected {
    pub(crate) node: Arc<str>,
    pub(crate) hello: wire::Hello,
    pub(crate) peer: Option<SocketAddr>,
    /// How it is known which node it is of.
    pub(super) binding: &'static str,
    pub(super) since: Timestamp,
    /// The last sequence number that was sent.
    pub(super) sent: AtomicU64,
    pub(super) heard: Mutex<Heard>,
    /// The question for its series.
    pub(super) errand: Errand,
}

/// What an agent last said.
#[derive(Debug)]
pub(super) struct Heard {
    pub(super) at: Timestamp,
    pub(super) status: Option<wire::Status>,
}

/// A stream's place in the fleet, for as long as it lives.
#[derive(Debug)]
pub(super) struct Membership {
    fleet: Arc<Fleet>,
    number: u64,
    pub(super) connected: Arc<Connected>,
}

impl Default for Fleet {
    fn default() -> Self {
        Self { instance: format!("{:032x}", fastrand::u128(..)), open: Mutex::default() }
    }
}

impl Fleet {
    /// What tells this running server from every other, in what they say.
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// Takes a stream in.
    pub(super) fn join(self: &Arc<Self>, connected: Connected) -> Membership {
        let connected = Arc::new(connected);
        let mut open = self.open();
        open.last_number += 1;
        let number = open.last_number;
        open.streams.insert(number, Arc::clone(&connected));
        Membership { fleet: Arc::clone(self), number, connected }
    }

    /// How many nodes have a stream.
    pub fn nodes(&self) -> usize {
        self.open().streams.values().map(|connected| &connected.node).collect::<HashSet<_>>().len()
    }

    /// How many streams are of agents whose version is not the server's.
    pub fn other_versions(&self) -> usize {
        self.open().streams.values().filter(|connected| !connected.is_of_this_version()).count()
    }

    /// The agents by node; where one is being replaced, the newer.
    pub(crate) fn agents(&self) -> Vec<Arc<Connected>> {
        self.newest().into_values().map(|(_, connected)| connected).collect()
    }

    /// The same, as far as it matters to startup taints.
    pub(crate) fn at_work(&self) -> Vec<Agent> {
        let agent = |(node, (stream, connected)): (_, (_, Arc<Connected>))| Agent {
            stream,
            node,
            is_at_work: connected.is_at_work(),
        };
        self.newest().into_iter().map(agent).collect()
    }

    /// The newest stream of each node, and its number.
    fn newest(&self) -> BTreeMap<Arc<str>, (u64, Arc<Connected>)> {
        let open = self.open();
        let newest_last = open.streams.iter();
        newest_last.map(|(number, connected)| (Arc::clone(&connected.node), (*number, Arc::clone(connected)))).collect()
    }

    /// The streams by their nodes' names; of one node's streams, the oldest first.
    pub(crate) fn list(&self) -> Vec<wire::Node> {
        let mut nodes: Vec<_> = self.open().streams.values().map(|connected| connected.to_wire()).collect();
        nodes.sort_by(|one, other| one.name.cmp(&other.name));
        nodes
    }

    /// What the agent of a node said last, on whichever of its streams that was.
    pub(super) fn agent_of(&self, node: &str) -> Option<Supplied> {
        let open = self.open();
        let of_node = open.streams.values().filter(|connected| *connected.node == *node);
        of_node.map(|connected| connected.supplied()).max_by_key(|supplied| supplied.heard_at)
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.fleet.open().streams.remove(&self.number);
    }
}

impl Connected {
    pub(super) fn is_of_this_version(&self) -> bool {
        self.hello.agent_version == VERSION
    }

    /// The agent's series, asked for on its stream; none if it does not say.
    pub(crate) async fn metrics(&self) -> Option<Vec<wire::Family>> {
        if self.features().is_empty() { None } else { self.errand.run().await }
    }

    /// What is used of what the agent has named.
    pub(super) fn features(&self) -> Vec<String> {
        self.hello.features.iter().filter(|feature| *feature == METRICS_FEATURE).cloned().collect()
    }

    /// The agent has said something.
    pub(super) fn heard(&self, at: Timestamp, status: Option<wire::Status>) {
        let mut heard = self.last_heard();
        heard.at = at;
        heard.status = status.or(heard.status);
    }

    fn last_heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it has said how its rules are, and that nothing is wrong with them. One that keeps none leaves them to what
    /// its pod begins with.
    fn is_at_work(&self) -> bool {
        let said = self.last_heard().status.map(|status| wire::Interception::try_from(status.interception));
        matches!(said, Some(Ok(wire::Interception::Healthy | wire::Interception::Unspecified)))
    }

    fn supplied(&self) -> Supplied {
        let heard = self.last_heard();
        Supplied {
            version: self.hello.agent_version.clone(),
            heard_at: heard.at,
            sent: self.sent.load(Ordering::Relaxed),
            said: heard.status.map(|status| Said {
                applied: status.applied_sequence,
                rules_are_whole: match status.interception() {
                    wire::Interception::Unspecified => None,
                    wire::Interception::Healthy => Some(true),
                    wire::Interception::Broken => Some(false),
                },
            }),
        }
    }

    fn to_wire(&self) -> wire::Node {
        let (last_seen, status) = {
            let heard = self.last_heard();
            (heard.at.as_second(), heard.status)
        };
        wire::Node {
            name: self.node.to_string(),
            agent_version: self.hello.agent_version.clone(),
            config_hash: self.hello.config_hash.clone(),
            peer: self.peer.map(|peer| peer.to_string()).unwrap_or_default(),
            connected_since: self.since.as_second(),
            last_seen,
            sent_sequence: self.sent.load(Ordering::Relaxed),
            status,
            binding: self.binding.into(),
            metrics: self.hello.metrics.clone(),
            zone: self.hello.zone.clone(),
        }
    }
}
