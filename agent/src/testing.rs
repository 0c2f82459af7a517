//! An agent's ledger and what supplies it, without connections and without a kernel: for tests of other crates, which
//! say themselves what arrives, where addresses lead, and when a stream is lost.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use kiam_common::reason::Reason;
use kiam_proto::node::ServerMessage;

use crate::ledger::{EndpointId, Found, Gap, Ledger, Network, Sequence, Told};
use crate::sync::decode::{Meaning, decode};

/// What the ledger says to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// This.
    Held(Bytes),
    /// The pod gets nothing.
    Refused(Reason),
    /// The ledger does not say: the server is to be asked.
    AskServer,
    /// The ledger would say, but has been without a server for too long.
    Stale,
    /// Another pod may have the address.
    Unconfirmed,
}

impl From<Found> for Answer {
    fn from(found: Found) -> Self {
        match found {
            Found::Held(answer) => Self::Held(answer),
            Found::Refused(refusal) => Self::Refused(refusal.reason),
            Found::AskServer => Self::AskServer,
            Found::Stale => Self::Stale,
            Found::Unconfirmed => Self::Unconfirmed,
        }
    }
}

/// A node's ledger, and the network that it believes.
pub struct Node {
    ledger: Arc<Ledger>,
    network: Arc<Leads>,
}

impl Node {
    /// An empty ledger.
    pub fn new(max_stale: Duration) -> Self {
        let network = Arc::new(Leads::default());
        let ledger = Arc::new(Ledger::new(Arc::clone(&network) as Arc<dyn Network>, max_stale));
        Self { ledger, network }
    }

    /// From now on an address leads to this interface and hardware address, or nowhere.
    pub fn lead(&self, ip: IpAddr, endpoint: Option<(u32, Option<[u8; 6]>)>) {
        let endpoint = endpoint.map(|(interface, hardware)| EndpointId { interface, hardware });
        {
            let mut leads = self.network.lock();
            leads.remove(&ip);
            leads.extend(endpoint.map(|endpoint| (ip, endpoint)));
        }
        self.ledger.examine(ip);
    }

    /// The name of the role of the pod at an address.
    pub fn role_name(&self, ip: IpAddr) -> Answer {
        self.ledger.role_name(ip).into()
    }

    /// The document with the credentials of a role for the pod at an address.
    pub fn credentials(&self, ip: IpAddr, role: &str) -> Answer {
        self.ledger.credentials(ip, role, false).into()
    }

    /// The stream is gone.
    pub fn lost(&self) {
        self.ledger.lost();
    }
}

/// Where addresses lead.
#[derive(Default)]
struct Leads(Mutex<HashMap<IpAddr, EndpointId>>);

impl Leads {
    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, EndpointId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Network for Leads {
    fn endpoint_of(&self, ip: IpAddr) -> Option<EndpointId> {
        self.lock().get(&ip).copied()
    }
}

/// One stream, as its messages arrive.
pub struct Stream {
    sequence: Sequence,
    /// What the snapshot says so far; none once it is complete.
    snapshot: Option<Told>,
}

/// A message is missing: the stream is to be given up.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Missing(#[from] Gap);

impl Default for Stream {
    /// One whose snapshot is still to come.
    fn default() -> Self {
        Self { sequence: Sequence::default(), snapshot: Some(Told::default()) }
    }
}

impl Stream {
    /// Puts messages that arrive at once into the ledger.
    pub fn take(&mut self, node: &Node, messages: impl IntoIterator<Item = ServerMessage>) -> Result<(), Missing> {
        let mut changes = Vec::new();
        let mut outcome = Ok(());
        for message in messages {
            outcome = self.sequence.take(message.sequence).map_err(Missing);
            if outcome.is_err() {
                break;
            }
            match decode(message.message).unwrap_or_else(|senseless| senseless.instead()) {
                Meaning::Change(change) => match &mut self.snapshot {
                    Some(told) => _ = told.apply(change),
                    None => changes.push(change),
                },
                Meaning::SnapshotEnd => {
                    if let Some(told) = self.snapshot.take() {
                        node.ledger.replace(told);
                    }
                }
                Meaning::GoAway(_) | Meaning::MetricsWanted(_) | Meaning::Nothing => {}
            }
        }
        // There is always room for what a test says.
        let _ = node.ledger.apply(changes);
        outcome
    }
}
