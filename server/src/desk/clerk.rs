//! Looks after one stream: takes notes from its tray, looks at what the directory and the vault have by then, and says
//! what is news to the agent. Held by [`crate::grpc::node`] for as long as the stream lasts.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use kiam_common::role::RoleIdentity;

use super::Desk;
use super::told::{Message, Told};
use super::tray::{Todo, Tray};

/// Who says what one stream is to be told.
pub struct Clerk {
    desk: Arc<Desk>,
    node: Arc<str>,
    tray: Arc<Tray>,
    told: Told,
}

impl Clerk {
    pub(super) fn new(desk: Arc<Desk>, node: Arc<str>, tray: Arc<Tray>) -> Self {
        Self { desk, node, tray, told: Told::default() }
    }

    /// All that the agent does not know yet of the whole node.
    pub fn snapshot(&mut self) -> Vec<Message> {
        let addresses = self.told.addresses().chain(self.desk.directory.ips_of_node(&self.node)).collect();
        let identities = self.told.identities().map(Arc::clone).collect();
        self.look_at(addresses, identities)
    }

    /// Waits for something that the agent does not know yet. None if a newer stream has taken this one's place. Given
    /// up before it is done, it has done nothing.
    pub async fn changes(&mut self) -> Option<Vec<Message>> {
        loop {
            let Todo { everything, addresses, identities, closed } = self.tray.take().await;
            if closed {
                return None;
            }
            let messages = if everything { self.snapshot() } else { self.look_at(addresses, identities) };
            if !messages.is_empty() {
                return Some(messages);
            }
        }
    }

    fn look_at(&mut self, addresses: BTreeSet<IpAddr>, mut identities: BTreeSet<Arc<RoleIdentity>>) -> Vec<Message> {
        let mut messages = Vec::new();
        for ip in addresses {
            let entitlement = self.desk.directory.entitlement(&self.node, ip);
            let message = self.told.bind(ip, entitlement);
            if let Some(Message::Bind { role, .. }) = &message {
                // Before its credentials are looked at: what is new of them after that comes by the tray.
                self.follow(&role.identity);
                identities.insert(Arc::clone(&role.identity));
            }
            messages.extend(message);
        }
        for (identity, message) in self.told.revoke() {
            self.unfollow(&identity);
            messages.push(message);
        }
        for identity in identities {
            messages.extend(self.told.supply(&identity, || self.desk.vault.supply(&identity)));
        }
        messages
    }

    fn follow(&self, identity: &Arc<RoleIdentity>) {
        let mut trays = self.desk.trays();
        let followers = trays.by_identity.entry(Arc::clone(identity)).or_default();
        followers.insert(self.tray.number, Arc::clone(&self.tray));
    }

    fn unfollow(&self, identity: &RoleIdentity) {
        let mut trays = self.desk.trays();
        let Some(followers) = trays.by_identity.get_mut(identity) else { return };
        followers.remove(&self.tray.number);
        if followers.is_empty() {
            trays.by_identity.remove(identity);
        }
    }
}

impl Drop for Clerk {
    fn drop(&mut self) {
        self.told.identities().for_each(|identity| self.unfollow(identity));
        let mut trays = self.desk.trays();
        let Some(of_node) = trays.by_node.get_mut(&self.node) else { return };
        of_node.retain(|tray| tray.number != self.tray.number);
        if of_node.is_empty() {
            trays.by_node.remove(&self.node);
        }
    }
}
