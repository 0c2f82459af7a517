//! `kiam.node.v1.Fleet`, and the streams that it tells of: which nodes this server supplies now, and how their agents
//! are.

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use kiam_proto::encoding::node as wire;
use tonic::{Request, Response};

/// The version of this server, to compare those of agents with.
pub(super) use kiam_common::VERSION;

/// The streams that are open.
#[derive(Debug, Default)]
pub struct Fleet {
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    streams: BTreeMap<u64, Arc<Connected>>,
    last_number: u64,
}

/// An agent that has a stream.
#[derive(Debug)]
pub(super) struct Connected {
    pub(super) node: Arc<str>,
    pub(super) hello: wire::Hello,
    pub(super) peer: Option<SocketAddr>,
    /// How it is known which node it is of.
    pub(super) binding: &'static str,
    pub(super) since: Timestamp,
    /// The last sequence number that was sent.
    pub(super) sent: AtomicU64,
    pub(super) heard: Mutex<Heard>,
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

impl Fleet {
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

    /// The streams by their nodes' names; of one node's streams, the oldest first.
    pub(crate) fn list(&self) -> Vec<wire::Node> {
        let mut nodes: Vec<_> = self.open().streams.values().map(|connected| connected.to_wire()).collect();
        nodes.sort_by(|one, other| one.name.cmp(&other.name));
        nodes
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

    /// The agent has said something.
    pub(super) fn heard(&self, at: Timestamp, status: Option<wire::Status>) {
        let mut heard = self.last_heard();
        heard.at = at;
        heard.status = status.or(heard.status);
    }

    fn last_heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
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
        }
    }
}

/// The service.
pub(super) struct FleetView(pub(super) Arc<Fleet>);

#[tonic::async_trait]
impl wire::fleet_server::Fleet for FleetView {
    async fn list_nodes(
        &self,
        _: Request<wire::ListNodesRequest>,
    ) -> Result<Response<wire::ListNodesResponse>, tonic::Status> {
        Ok(Response::new(wire::ListNodesResponse { nodes: self.0.list(), server_version: VERSION.into() }))
    }
}
