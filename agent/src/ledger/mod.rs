//! The ledger: what the pods of this node may have, as a server keeps supplying it, and the answers, rendered once.
//! `sync/stream` writes it, `http/imds.rs` reads it. It knows no wire and no HTTP.
//!
//! ```text
//! stream ──snapshot, changes──► told ──┐
//! stream ──up, down───────────► supply ┼──► table ◄── requests
//! network ──address leads to──► tenants┘
//! ```
//!
//! What must always hold: a request reads one table, swapped in one step, and takes no lock; a snapshot replaces all
//! that another stream said; an address is answered for only while nothing speaks against its pod still having it.

mod binding;
#[cfg(test)]
pub(crate) mod fake;
pub(crate) mod metrics;
mod pin;
mod sequence;
mod table;
mod told;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio::time::Instant;

pub(crate) use binding::{Binding, BoundRole, Change, Credentials, Decision};
pub(crate) use pin::{EndpointId, Network, Opaque, Standing};
pub(crate) use sequence::{Gap, Sequence};
pub(crate) use table::Found;
pub(crate) use told::{Full, Told};

use pin::Tenants;
use table::{Supply, Table};

/// The node's answers.
pub(crate) struct Ledger {
    table: ArcSwap<Table>,
    books: Mutex<Books>,
    changed: watch::Sender<()>,
    network: Arc<dyn Network>,
    max_stale: Duration,
}

/// What the table is made of.
#[derive(Default)]
struct Books {
    told: Told,
    tenants: Tenants,
    supply: Supply,
}

impl Ledger {
    /// An empty one. Bindings that are not pinned to the network count for `max_stale` after the stream is lost.
    pub(crate) fn new(network: Arc<dyn Network>, max_stale: Duration) -> Self {
        Self { table: ArcSwap::default(), books: Mutex::default(), changed: watch::Sender::new(()), network, max_stale }
    }

    /// The name of the role of the pod at `ip`.
    pub(crate) fn role_name(&self, ip: IpAddr) -> Found {
        self.table.load().role_name(ip, Instant::now())
    }

    /// The document with the credentials of `role` for the pod at `ip`; the `extended` one names the account, too.
    pub(crate) fn credentials(&self, ip: IpAddr, role: &str, extended: bool) -> Found {
        self.table.load().credentials(ip, role, extended, Instant::now())
    }

    /// The pod at `ip`, as far as nothing speaks against its having the address: for people, never for a decision.
    pub(crate) fn pod(&self, ip: IpAddr) -> Option<Arc<Binding>> {
        self.table.load().pod(ip)
    }

    /// Tells of every change, for requests that wait for one.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Whether another pod may have the address than the one with this uid: for the word of a server that was asked, and
    /// may lag. Of a pod that the ledger has never heard of it cannot know.
    pub(crate) fn doubts(&self, ip: IpAddr, uid: &str) -> bool {
        let (ip, books) = (ip.to_canonical(), self.books());
        let is_doubted = books.tenants.doubted_until(ip, uid).is_some_and(|until| Instant::now() < until);
        is_doubted || books.tenants.standing(ip, uid) == Standing::Unconfirmed
    }

    /// Whether a stream supplies it.
    pub(crate) fn is_supplied(&self) -> bool {
        self.table.load().supply == Supply::Connected
    }

    /// How many sessions there are credentials of.
    pub(crate) fn sessions(&self) -> usize {
        self.table.load().sessions
    }

    /// How many bindings have this standing.
    pub(crate) fn bindings(&self, standing: Standing) -> usize {
        self.table.load().count(standing)
    }

    /// A stream's snapshot is complete: it takes the place of all that was known.
    pub(crate) fn replace(&self, mut snapshot: Told) {
        self.write(|books, network| {
            snapshot.inherit(&books.told);
            books.tenants.change_stream();
            for (ip, binding) in &snapshot.bindings {
                books.settle(*ip, binding, network);
            }
            books.told = snapshot;
            books.supply = Supply::Connected;
            true
        });
    }

    /// Takes changes of the stream, in order and in one step. Says of each that there is no room for.
    pub(crate) fn apply(&self, changes: impl IntoIterator<Item = Change>) -> Result<(), Full> {
        let mut outcome = Ok(());
        self.write(|books, network| {
            for change in changes {
                if let Change::Bind(ip, binding) = &change {
                    books.settle(*ip, binding, network);
                }
                outcome = books.told.apply(change).and(outcome);
            }
            true
        });
        outcome
    }

    /// The stream is gone.
    pub(crate) fn lost(&self) {
        self.write(|books, _| {
            let was_connected = books.supply == Supply::Connected;
            if was_connected {
                books.supply = Supply::LostAt(Instant::now());
            }
            was_connected
        });
    }

    /// The network says that this address may lead elsewhere.
    pub(crate) fn examine(&self, ip: IpAddr) {
        self.write(|books, network| books.examine(ip.to_canonical(), network));
    }

    /// The network says that any address may lead elsewhere.
    pub(crate) fn examine_all(&self) {
        self.write(|books, network| {
            let examined = books.tenants.addresses().into_iter().map(|ip| books.examine(ip, network));
            examined.fold(false, |changed, one| changed | one)
        });
    }

    /// Changes the books, and makes the table anew if that changed anything.
    fn write(&self, change: impl FnOnce(&mut Books, &dyn Network) -> bool) {
        let mut books = self.books();
        if !change(&mut books, &*self.network) {
            return;
        }
        let Books { told, tenants, supply } = &mut *books;
        tenants.retain(Instant::now(), |ip| told.bindings.get(ip).map(|binding| &*binding.uid));
        self.table.store(Arc::new(Table::new(told, tenants, *supply, self.max_stale)));
        self.changed.send_replace(());
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Books {
    /// Looks where an address leads. Says whether that changed anything.
    fn examine(&mut self, ip: IpAddr, network: &dyn Network) -> bool {
        let is_recent = self.supply == Supply::Connected;
        self.tenants.examine(ip, network.endpoint_of(ip), is_recent)
    }

    /// Notes whose an address is. Where it is two pods' at once, nobody has moved in yet.
    fn settle(&mut self, ip: IpAddr, binding: &Binding, network: &dyn Network) {
        if !binding.is_shared() {
            self.tenants.bound(ip, &binding.uid, network.endpoint_of(ip), Instant::now());
        }
    }
}

#[cfg(test)]
mod tests;
