//! What requests read: for each address the answer that it gets now, or why not. Made anew of all that is known whenever
//! something changes, never changed itself.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kiam_common::reason::{Reason, Refusal};
use tokio::time::Instant;

use super::binding::{Binding, BoundRole, Credentials, Decision};
use super::pin::{Standing, Tenants};
use super::told::Told;

/// What the ledger says to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// The answer.
    Held(Bytes),
    /// The pod gets nothing.
    Refused(Refusal),
    /// The ledger does not say: the server is to be asked.
    AskServer,
    /// The ledger would say, but has been without a server for too long: likewise.
    Stale,
    /// Another pod may have the address: only the ledger's next word helps. A server that lags would say what the
    /// ledger says.
    Unconfirmed,
}

/// Whether there is a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Supply {
    /// Not yet.
    #[default]
    Never,
    /// There is: everything is exact.
    Connected,
    /// Not since then.
    LostAt(Instant),
}

#[derive(Debug)]
struct Entry {
    binding: Arc<Binding>,
    credentials: Option<Arc<Credentials>>,
    standing: Standing,
    doubted_until: Option<Instant>,
}

/// All answers.
#[derive(Debug, Default)]
pub(crate) struct Table {
    entries: HashMap<IpAddr, Entry>,
    /// How many sessions have credentials.
    pub(super) sessions: usize,
    pub(super) supply: Supply,
    max_stale: Duration,
}

impl Table {
    pub(super) fn new(told: &Told, tenants: &Tenants, supply: Supply, max_stale: Duration) -> Self {
        let entry = |(ip, binding): (&IpAddr, &Arc<Binding>)| {
            let credentials = told.credentials(ip, binding).cloned();
            let (standing, doubted_until) =
                (tenants.standing(*ip, &binding.uid), tenants.doubted_until(*ip, &binding.uid));
            (*ip, Entry { binding: binding.clone(), credentials, standing, doubted_until })
        };
        let entries = told.bindings.iter().map(entry).collect();
        Self { entries, sessions: told.sessions.len(), supply, max_stale }
    }

    /// The name of the role of the pod at `ip`.
    pub(super) fn role_name(&self, ip: IpAddr, now: Instant) -> Found {
        self.answer(ip, now, |_, role| Found::Held(role.name.clone()))
    }

    /// The credentials of `role` for the pod at `ip`, as one of the two documents.
    pub(super) fn credentials(&self, ip: IpAddr, role: &str, extended: bool, now: Instant) -> Found {
        self.answer(ip, now, |entry, bound| match &entry.credentials {
            Some(credentials) if credentials.ends > now && bound.is_meant_by(role) => {
                let documents = &credentials.documents;
                Found::Held(if extended { &documents.extended } else { &documents.plain }.clone())
            }
            _ => Found::AskServer,
        })
    }

    fn answer(&self, ip: IpAddr, now: Instant, allowed: impl FnOnce(&Entry, &BoundRole) -> Found) -> Found {
        let Some(entry) = self.entries.get(&ip.to_canonical()) else { return Found::AskServer };
        let is_doubted = entry.doubted_until.is_some_and(|until| now < until);
        match entry.standing {
            Standing::Unconfirmed if !entry.binding.is_shared() => return Found::Unconfirmed,
            _ if is_doubted && !entry.binding.is_shared() => return Found::Unconfirmed,
            Standing::Unpinned if self.is_stale(now) => return Found::Stale,
            Standing::Pinned | Standing::Unpinned | Standing::Unconfirmed => {}
        }
        match &entry.binding.decision {
            Decision::Role(role) => allowed(entry, role),
            Decision::Refused(refusal) if self.supply == Supply::Connected && has_event(refusal.reason) => {
                Found::AskServer
            }
            Decision::Refused(refusal) => Found::Refused(refusal.clone()),
        }
    }

    /// The pod at `ip`.
    pub(super) fn pod(&self, ip: IpAddr) -> Option<Arc<Binding>> {
        let entry = self.entries.get(&ip.to_canonical())?;
        let is_certain = entry.standing != Standing::Unconfirmed && !entry.binding.is_shared();
        is_certain.then(|| Arc::clone(&entry.binding))
    }

    fn is_stale(&self, now: Instant) -> bool {
        matches!(self.supply, Supply::LostAt(lost) if now.duration_since(lost) >= self.max_stale)
    }

    /// How many bindings have this standing.
    pub(super) fn count(&self, standing: Standing) -> usize {
        self.entries.values().filter(|entry| entry.standing == standing).count()
    }
}

/// Whether the server, when asked, puts an event on the pod. While it is there it is asked, so that the pod's owner
/// sees each refusal.
fn has_event(reason: Reason) -> bool {
    matches!(reason, Reason::Forbidden | Reason::InvalidAnnotation)
}
