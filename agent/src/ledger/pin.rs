//! Pins: which network endpoint a pod's address led to when the server bound it. An address that leads elsewhere may be
//! another pod's already, however recent the server's word is. Kept by the ledger.
//!
//! What must always hold: once an address leads elsewhere, what was said of its pod counts for nothing until a server
//! names another pod, or the address leads to the pinned endpoint again. No stream, server or snapshot undoes that.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

/// How long a pod that left its address is remembered. A server that lags may name it again: that is no news then.
const REMEMBER_FOR: Duration = Duration::from_mins(10);
/// The most pods that left their address to remember.
const REMEMBER_MAX: usize = 4096;

/// Where an address leads: one end of a pod's link to the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EndpointId {
    /// The index of the interface that the route goes out of; the kernel does not give it to another.
    pub(crate) interface: u32,
    /// The neighbour's hardware address, once the kernel has learnt it.
    pub(crate) hardware: Option<[u8; 6]>,
}

impl EndpointId {
    /// Whether both may be the same, as far as either knows.
    fn agrees(self, other: Self) -> bool {
        let unknown = self.hardware.is_none() || other.hardware.is_none();
        self.interface == other.interface && (unknown || self.hardware == other.hardware)
    }
}

/// The node's network, as its kernel has it.
pub(crate) trait Network: Send + Sync {
    /// Where the address leads now; none if nowhere, or if it is not known.
    fn endpoint_of(&self, ip: IpAddr) -> Option<EndpointId>;
}

/// A network that nobody can look into: nothing is pinned.
#[derive(Debug)]
pub(crate) struct Opaque;

impl Network for Opaque {
    fn endpoint_of(&self, _: IpAddr) -> Option<EndpointId> {
        None
    }
}

/// How much an address can be relied on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It leads to the endpoint that the pod was bound at.
    Pinned,
    /// Nobody can tell where it leads: only a server's recent word counts.
    Unpinned,
    /// It leads elsewhere, or has in the meantime.
    Unconfirmed,
}

/// A pod that an address was said to be of.
#[derive(Clone, Debug)]
struct Tenant {
    uid: Box<str>,
    pin: Option<EndpointId>,
    is_confirmed: bool,
    /// Since when the server no longer says so.
    left: Option<Instant>,
}

impl Tenant {
    /// Compares the pin with where the address leads now. A pod that has no pin yet, as the network had not heard of it,
    /// may get one while a server's word is recent. Says whether that changed anything.
    fn examine(&mut self, here: Option<EndpointId>, is_recent: bool) -> bool {
        let Some(pin) = &mut self.pin else {
            self.pin = here.filter(|_| is_recent && self.is_confirmed);
            return self.pin.is_some();
        };
        let before = self.is_confirmed;
        match here {
            Some(here) if pin.agrees(here) => {
                pin.hardware = pin.hardware.or(here.hardware);
                self.is_confirmed = true;
            }
            _ => self.is_confirmed = false,
        }
        self.is_confirmed != before
    }
}

/// The pods of all addresses, those that left a moment ago included. Outlives streams.
#[derive(Clone, Debug, Default)]
pub(super) struct Tenants(HashMap<IpAddr, Vec<Tenant>>);

impl Tenants {
    /// A server says whose the address is, which leads `here` now. A pod that another has followed does not come back:
    /// a server that says so lags.
    pub(super) fn bound(&mut self, ip: IpAddr, uid: &str, here: Option<EndpointId>) {
        let tenants = self.0.entry(ip).or_default();
        match tenants.iter().position(|tenant| *tenant.uid == *uid) {
            None => tenants.push(Tenant { uid: uid.into(), pin: here, is_confirmed: true, left: None }),
            Some(known) => {
                let is_followed = known + 1 < tenants.len();
                let Some(tenant) = tenants.get_mut(known) else { return };
                tenant.examine(here, true);
                tenant.is_confirmed &= !is_followed;
            }
        }
    }

    /// A server says that each address is of the pod with this uid, or of none.
    pub(super) fn retain<'u>(&mut self, now: Instant, uid_at: impl Fn(&IpAddr) -> Option<&'u str>) {
        let mut remembered = 0;
        self.0.retain(|ip, tenants| {
            let uid = uid_at(ip);
            tenants.retain_mut(|tenant| {
                if uid == Some(&*tenant.uid) {
                    tenant.left = None;
                    return true;
                }
                let since = *tenant.left.get_or_insert(now);
                remembered += 1;
                remembered <= REMEMBER_MAX && now.duration_since(since) < REMEMBER_FOR
            });
            !tenants.is_empty()
        });
    }

    /// An address may lead elsewhere now. Says whether that changed anything.
    pub(super) fn examine(
        &mut self,
        ip: IpAddr,
        endpoint_of: impl Fn(IpAddr) -> Option<EndpointId>,
        is_recent: bool,
    ) -> bool {
        let tenant = self.0.get_mut(&ip).and_then(|tenants| tenants.last_mut());
        tenant.is_some_and(|tenant| tenant.examine(endpoint_of(ip), is_recent))
    }

    /// The addresses that are, or were a moment ago, of pods.
    pub(super) fn addresses(&self) -> Vec<IpAddr> {
        self.0.keys().copied().collect()
    }

    /// How many there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.values().map(Vec::len).sum()
    }

    /// How much it can be relied on that the address is of the pod with this uid.
    pub(super) fn standing(&self, ip: IpAddr, uid: &str) -> Standing {
        let tenants = self.0.get(&ip).map(Vec::as_slice).unwrap_or_default();
        match tenants.iter().find(|tenant| *tenant.uid == *uid) {
            Some(Tenant { is_confirmed: false, .. }) => Standing::Unconfirmed,
            Some(Tenant { pin: Some(_), .. }) => Standing::Pinned,
            _ => Standing::Unpinned,
        }
    }
}
