//! What one stream has been told, and from that, what to tell it next. Plain and synchronous: a [`super::clerk`] looks
//! things up and hands them in.
//!
//! What must always hold: the messages, applied in order, make the agent know exactly what was handed in last. A
//! session is never revoked while an address refers to it, and its number is never used again.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Weak};

use jiff::Timestamp;
use kiam_common::credentials::Issued;
use kiam_common::role::RoleIdentity;

use crate::directory::entitlement::Entitlement;
use crate::directory::pods::Pod;
use crate::error::Error;
use crate::role::AnnotatedRole;
use crate::sts::StsError;
use crate::vault::Supply;

/// Something to tell an agent.
#[derive(Clone, Debug)]
pub enum Message {
    /// The pod at an address may have a role.
    Bind {
        /// The address.
        ip: IpAddr,
        /// The pod.
        pod: Arc<Pod>,
        /// The role.
        role: AnnotatedRole,
        /// Whose credentials it gets.
        session: u64,
    },
    /// The pod at an address gets nothing.
    Refuse {
        /// The address.
        ip: IpAddr,
        /// The pod.
        pod: Arc<Pod>,
        /// Why.
        error: Error,
    },
    /// No pod of the node has an address any more.
    Unbind {
        /// The address.
        ip: IpAddr,
    },
    /// Credentials of a session.
    Grant {
        /// The session.
        session: u64,
        /// Its credentials.
        issued: Arc<Issued>,
        /// When they end, by the vault's clock.
        ends: Timestamp,
    },
    /// There are no credentials of a session.
    Withhold {
        /// The session.
        session: u64,
        /// Why.
        error: Arc<StsError>,
    },
    /// No address refers to a session any more.
    Revoke {
        /// The session.
        session: u64,
    },
}

/// What one stream has been told.
#[derive(Debug, Default)]
pub(super) struct Told {
    entitlements: HashMap<IpAddr, Entitlement>,
    sessions: BTreeMap<Arc<RoleIdentity>, Session>,
    last_number: u64,
}

#[derive(Debug)]
struct Session {
    number: u64,
    /// How many addresses refer to it.
    addresses: usize,
    supplied: Supplied,
}

/// What a session was supplied with. It does not keep credentials alive that the vault has let go.
#[derive(Debug)]
enum Supplied {
    Nothing,
    Granted(Weak<Issued>),
    Withheld(Arc<StsError>),
}

impl Told {
    /// Takes in what the pod at an address may have now, if there is one. Says what to tell, if that is news.
    pub(super) fn bind(&mut self, ip: IpAddr, entitlement: Option<Entitlement>) -> Option<Message> {
        let before = self.entitlements.remove(&ip);
        let Some(entitlement) = entitlement else {
            self.release(&before?);
            return Some(Message::Unbind { ip });
        };
        let is_news = !before.as_ref().is_some_and(|before| entitlement.says_the_same_as(before));
        let message = is_news.then(|| {
            let pod = Arc::clone(&entitlement.pod);
            match entitlement.outcome() {
                Ok(role) => Message::Bind { ip, pod, role: role.clone(), session: self.refer(&role.identity) },
                Err(error) => Message::Refuse { ip, pod, error },
            }
        });
        if let Some(before) = before.filter(|_| is_news) {
            self.release(&before);
        }
        self.entitlements.insert(ip, entitlement);
        message
    }

    /// Looks at what there is of a role identity now, if an address refers to it. Says what to tell, if that is news.
    pub(super) fn supply(&mut self, identity: &RoleIdentity, look: impl FnOnce() -> Supply) -> Option<Message> {
        let session = self.sessions.get_mut(identity)?;
        let number = session.number;
        match (look(), &session.supplied) {
            (Supply::Awaited, _) => None,
            (Supply::Held { issued, .. }, Supplied::Granted(told)) if is_same(told, &issued) => None,
            (Supply::Failed(error), Supplied::Withheld(told)) if *told == error => None,
            (Supply::Held { issued, ends }, _) => {
                session.supplied = Supplied::Granted(Arc::downgrade(&issued));
                Some(Message::Grant { session: number, issued, ends })
            }
            (Supply::Failed(error), _) => {
                session.supplied = Supplied::Withheld(Arc::clone(&error));
                Some(Message::Withhold { session: number, error })
            }
        }
    }

    /// Forgets the role identities that no address refers to any more, and says what to tell of each.
    pub(super) fn revoke(&mut self) -> Vec<(Arc<RoleIdentity>, Message)> {
        let unused = self.sessions.extract_if(.., |_, session| session.addresses == 0);
        unused.map(|(identity, session)| (identity, Message::Revoke { session: session.number })).collect()
    }

    /// The addresses that a pod has.
    pub(super) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.entitlements.keys().copied()
    }

    /// The role identities that addresses refer to.
    pub(super) fn identities(&self) -> impl Iterator<Item = &Arc<RoleIdentity>> {
        self.sessions.keys()
    }

    fn refer(&mut self, identity: &Arc<RoleIdentity>) -> u64 {
        let session = self.sessions.entry(Arc::clone(identity)).or_insert_with(|| {
            self.last_number += 1;
            Session { number: self.last_number, addresses: 0, supplied: Supplied::Nothing }
        });
        session.addresses += 1;
        session.number
    }

    fn release(&mut self, entitlement: &Entitlement) {
        let session = entitlement.outcome().ok().and_then(|role| self.sessions.get_mut(&role.identity));
        if let Some(session) = session {
            session.addresses -= 1;
        }
    }
}

fn is_same(told: &Weak<Issued>, issued: &Arc<Issued>) -> bool {
    std::ptr::eq(told.as_ptr(), Arc::as_ptr(issued))
}
