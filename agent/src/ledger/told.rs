//! All that one stream has said so far, with nothing concluded from it. `ledger/mod.rs` keeps it and makes the table of
//! it that requests read; `ledger/intake.rs` gathers a snapshot in one.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::binding::{Binding, Change, Credentials, Decision, Session};

/// The most addresses, and the most sessions. A node has a few hundred pods at most; what is beyond this is no node.
pub(super) const ROOM: usize = 4096;

/// What a server has said.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    pub(super) bindings: HashMap<IpAddr, Arc<Binding>>,
    pub(super) sessions: HashMap<Session, Arc<Credentials>>,
    /// What the pods at these addresses were given by the stream before.
    inherited: HashMap<IpAddr, Arc<Credentials>>,
}

/// There is no room for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a server names more than {ROOM} addresses or sessions of one node")]
pub(crate) struct Full;

impl Told {
    /// The credentials of the pod at `ip`, which is bound like this.
    pub(super) fn credentials(&self, ip: &IpAddr, binding: &Binding) -> Option<&Arc<Credentials>> {
        let Decision::Role(role) = &binding.decision else { return None };
        self.sessions.get(&role.session).or_else(|| self.inherited.get(ip))
    }

    /// Keeps what the stream before gave to the very pods, and for the very roles, that this one names: a server that has
    /// just started may not have got its own credentials for them yet.
    pub(super) fn inherit(&mut self, before: &Self) {
        let kept = self.bindings.iter().filter_map(|(ip, binding)| {
            let known = before.bindings.get(ip).filter(|known| known.is_of_same_role(binding))?;
            Some((*ip, Arc::clone(before.credentials(ip, known)?)))
        });
        self.inherited = kept.collect();
    }

    /// Takes one change. One that there is no room for is left out: its pod is asked for by a call.
    pub(crate) fn apply(&mut self, change: Change) -> Result<(), Full> {
        match change {
            Change::Bind(ip, binding) => {
                if self.bindings.len() >= ROOM && !self.bindings.contains_key(&ip) {
                    return Err(Full);
                }
                if self.bindings.get(&ip).is_none_or(|known| !known.is_of_same_role(&binding)) {
                    self.inherited.remove(&ip);
                }
                self.bindings.insert(ip, Arc::new(binding));
            }
            Change::Unbind(ip) => {
                self.bindings.remove(&ip);
                self.inherited.remove(&ip);
            }
            Change::Grant(session, credentials) => {
                if self.sessions.len() >= ROOM && !self.sessions.contains_key(&session) {
                    return Err(Full);
                }
                self.sessions.insert(session, Arc::new(credentials));
            }
            Change::Revoke(session) => {
                self.sessions.remove(&session);
            }
        }
        Ok(())
    }
}
