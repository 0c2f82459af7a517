//! The per-node view: turns changes of the directory and the vault into what each node's agent must be told.
//!
//! ```text
//! directory ── Touched ──┐                              ┌─► clerk ──► messages of one stream
//!                        ├─► Desk: whose affair is it? ─┼─► clerk ──► …
//! vault ── Landings ─────┘                              └─► clerk
//! ```
//!
//! The desk only puts a note of *where* something has changed on the tray of each clerk whom it concerns; a clerk has
//! one stream, looks at what is there by then, and says what is news to its agent ([`told`]). So the order of changes
//! does not matter, many of them become one message, and the work grows with the changes and the streams that they
//! concern, never with all nodes or pods. Nothing here knows of gRPC: [`crate::grpc`] has the streams.

mod clerk;
pub mod told;
mod tray;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kiam_common::role::RoleIdentity;
use kiam_common::shutdown::Shutdown;

use crate::directory::Directory;
use crate::directory::change::Touched;
use crate::vault::Vault;
pub use clerk::Clerk;
use tray::Tray;

/// How many streams a node may have: the agent's, and some that it has left and that nobody has missed yet.
const STREAMS_A_NODE: usize = 4;

/// Who is to be told of what.
pub struct Desk {
    directory: Arc<Directory>,
    vault: Arc<Vault>,
    trays: Mutex<Trays>,
}

/// The trays of the clerks, by what concerns them.
#[derive(Debug, Default)]
struct Trays {
    /// Oldest first.
    by_node: HashMap<Arc<str>, Vec<Arc<Tray>>>,
    by_identity: HashMap<Arc<RoleIdentity>, HashMap<u64, Arc<Tray>>>,
    last_number: u64,
}

impl Desk {
    /// A desk without any node.
    pub fn new(directory: Arc<Directory>, vault: Arc<Vault>) -> Self {
        Self { directory, vault, trays: Mutex::default() }
    }

    /// A clerk for a new stream of a node. A node's oldest stream makes room for it if it has many.
    pub fn clerk(self: &Arc<Self>, node: &str) -> Clerk {
        let mut trays = self.trays();
        trays.last_number += 1;
        let tray = Arc::new(Tray::new(trays.last_number));
        let of_node = trays.by_node.entry(node.into()).or_default();
        if of_node.len() >= STREAMS_A_NODE {
            of_node.remove(0).close();
        }
        of_node.push(Arc::clone(&tray));
        Clerk::new(Arc::clone(self), node.into(), tray)
    }

    /// The directory has changed there.
    pub fn look_again(&self, touched: &Touched) {
        let trays = self.trays();
        match touched {
            Touched::Everything => trays.by_node.values().flatten().for_each(|tray| tray.put_everything()),
            Touched::Addresses(addresses) => {
                for address in addresses {
                    let of_node = trays.by_node.get(&address.node).into_iter().flatten();
                    of_node.for_each(|tray| tray.put_address(address.ip));
                }
            }
        }
    }

    /// The vault has something new of these.
    fn look_at(&self, identities: &HashSet<Arc<RoleIdentity>>) {
        let trays = self.trays();
        for identity in identities {
            let concerned = trays.by_identity.get(identity).into_iter().flat_map(HashMap::values);
            concerned.for_each(|tray| tray.put_identity(identity));
        }
    }

    /// How many nodes have streams, and how many follow a role identity, all identities together.
    #[cfg(test)]
    pub(crate) fn size(&self) -> (usize, usize) {
        let trays = self.trays();
        (trays.by_node.len(), trays.by_identity.values().map(HashMap::len).sum())
    }

    fn trays(&self) -> MutexGuard<'_, Trays> {
        self.trays.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Passes on what is new in the vault, until the shutdown.
pub async fn keep(desk: Arc<Desk>, shutdown: Shutdown) {
    loop {
        tokio::select! {
            identities = desk.vault.landings().next() => desk.look_at(&identities),
            () = shutdown.begun() => return,
        }
    }
}
