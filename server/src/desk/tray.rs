//! What a clerk has yet to look at.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use kiam_common::role::RoleIdentity;

use crate::pending::Pending;

/// With more addresses than this on it, the clerk may as well look at the whole node.
const MANY: usize = 1024;

/// Where changes are put for one clerk.
#[derive(Debug)]
pub(super) struct Tray {
    /// Never used twice.
    pub(super) number: u64,
    pending: Pending<Todo>,
}

/// What is on a tray. Bounded: the identities are only those that the clerk follows. Sorted, so that the same changes make
/// the same messages.
#[derive(Debug, Default)]
pub(super) struct Todo {
    /// Look at all that the node has.
    pub(super) everything: bool,
    /// Look at these addresses.
    pub(super) addresses: BTreeSet<IpAddr>,
    /// Look at what there is of these.
    pub(super) identities: BTreeSet<Arc<RoleIdentity>>,
    /// A newer stream has taken the place of this one.
    pub(super) closed: bool,
}

impl Tray {
    pub(super) fn new(number: u64) -> Self {
        Self { number, pending: Pending::default() }
    }

    pub(super) fn put_everything(&self) {
        self.pending.add(Todo::put_everything);
    }

    pub(super) fn put_address(&self, ip: IpAddr) {
        self.pending.add(|todo| {
            if todo.addresses.len() >= MANY {
                todo.put_everything();
            }
            if !todo.everything {
                todo.addresses.insert(ip);
            }
        });
    }

    pub(super) fn put_identity(&self, identity: &Arc<RoleIdentity>) {
        self.pending.add(|todo| {
            todo.identities.insert(Arc::clone(identity));
        });
    }

    pub(super) fn close(&self) {
        self.pending.add(|todo| todo.closed = true);
    }

    /// Takes all that is on it, as soon as there is something.
    pub(super) async fn take(&self) -> Todo {
        self.pending.take().await
    }
}

impl Todo {
    fn put_everything(&mut self) {
        self.everything = true;
        self.addresses = BTreeSet::new();
    }
}
