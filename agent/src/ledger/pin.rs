//! Pins: which network endpoint a pod's address led to when the server bound it. An address that leads elsewhere may be
//! another pod's already, however recent the server's word is. Kept by the ledger.
//!
//! What must always hold: once an address leads elsewhere, what was said of its pod counts for nothing until a server
//! names another pod, or the address leads to the pinned endpoint again. No stream, server or snapshot undoes that.
//!
//! Servers lag, each in its own way. What one stream says is in order: of two pods the one that it names later is the
//! later tenant. Between streams there is no order: the next server may know less than the last one did.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

/// How long a pod that left its address is remembered. A server that lags may name it again: that is no news then.
const REMEMBER_FOR: Duration = Duration::from_mins(10);
/// The most pods that left their address to remember.
const REMEMBER_MAX: usize = 4096;

/// How long a pod is doubted that a new stream names where the address still leads to another. A server that lags has
/// caught up by then; if it was the one before that did, there is nothing else that would say so.
const DOUBT_FOR: Duration = Duration::from_secs(30);

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
    /// The address leads to the pinned endpoint.
    is_confirmed: bool,
    /// Another pod has had the address since, by all that is known.
    is_followed: bool,
    /// Until when it is doubted that the pod has the address.
    doubted_until: Option<Instant>,
    /// The last stream that named it.
    named_by: u64,
    /// Since when the server no longer says so.
    left: Option<Instant>,
}

impl Tenant {
    /// Compares the pin with where the address leads now. A pod without a pin, as the network had not heard of it, may get
    /// one while a server's word is recent. Says whether that changed anything.
    fn examine(&mut self, here: Option<EndpointId>, is_recent: bool) -> bool {
        let Some(pin) = &mut self.pin else {
            self.pin = here.filter(|_| is_recent && self.left.is_none());
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

    /// Whether the address leads to this pod, if it leads `here`.
    fn is_at(&self, here: Option<EndpointId>) -> bool {
        here.is_some() && self.pin == here && self.is_confirmed && !self.is_followed
    }
}

/// The pods of all addresses, those that left a moment ago included. Outlives streams.
#[derive(Clone, Debug, Default)]
pub(super) struct Tenants {
    /// The later a tenant, the later in the list.
    at: HashMap<IpAddr, Vec<Tenant>>,
    /// The number of the stream that is followed.
    stream: u64,
}

impl Tenants {
    /// From now on it is another stream that names pods.
    pub(super) fn change_stream(&mut self) {
        self.stream += 1;
    }

    /// A server says whose the address is, which leads `here` now. A pod that another has followed does not come back:
    /// a server that says so lags.
    pub(super) fn bound(&mut self, ip: IpAddr, uid: &str, here: Option<EndpointId>, now: Instant) {
        let (stream, tenants) = (self.stream, self.at.entry(ip).or_default());
        let known = tenants.iter().position(|tenant| *tenant.uid == *uid);
        let tenant = known.map(|known| tenants.remove(known));
        // The order of a stream holds: those that it has named before were there before.
        for other in tenants.iter_mut().filter(|other| other.named_by == stream) {
            other.doubted_until = None;
        }
        match tenant.zip(known) {
            None => {
                let other = tenants.iter().position(|other| other.named_by != stream && other.is_at(here));
                let doubted_until = other.map(|_| now + DOUBT_FOR);
                let tenant = Tenant {
                    uid: uid.into(),
                    pin: here,
                    is_confirmed: true,
                    is_followed: false,
                    doubted_until,
                    named_by: stream,
                    left: None,
                };
                tenants.insert(other.unwrap_or(tenants.len()), tenant);
            }
            Some((mut tenant, known)) => {
                let later = tenants.get(known..).unwrap_or_default();
                let is_after_later = tenant.named_by != stream && later.iter().any(|later| later.named_by == stream);
                let was_believed = tenant.doubted_until.is_some_and(|until| until <= now);
                let is_latest = later.is_empty() || is_after_later || was_believed;
                tenant.doubted_until = tenant.doubted_until.filter(|_| !is_latest);
                tenant.is_followed = !is_latest && tenant.doubted_until.is_none();
                (tenant.named_by, tenant.left) = (stream, None);
                tenant.examine(here, true);
                tenants.insert(if is_latest { tenants.len() } else { known }, tenant);
            }
        }
    }

    /// A server says that each address is of the pod with this uid, or of none.
    pub(super) fn retain<'u>(&mut self, now: Instant, uid_at: impl Fn(&IpAddr) -> Option<&'u str>) {
        let mut remembered = 0;
        self.at.retain(|ip, tenants| {
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
    pub(super) fn examine(&mut self, ip: IpAddr, here: Option<EndpointId>, is_recent: bool) -> bool {
        let tenants = self.at.get_mut(&ip).into_iter().flatten();
        tenants.fold(false, |changed, tenant| changed | tenant.examine(here, is_recent))
    }

    /// The addresses that are, or were a moment ago, of pods.
    pub(super) fn addresses(&self) -> Vec<IpAddr> {
        self.at.keys().copied().collect()
    }

    /// How many there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.at.values().map(Vec::len).sum()
    }

    /// How much it can be relied on that the address is of the pod with this uid.
    pub(super) fn standing(&self, ip: IpAddr, uid: &str) -> Standing {
        match self.tenant(ip, uid) {
            Some(tenant) if tenant.is_followed || !tenant.is_confirmed => Standing::Unconfirmed,
            Some(Tenant { pin: Some(_), .. }) => Standing::Pinned,
            _ => Standing::Unpinned,
        }
    }

    /// Until when it counts as unconfirmed, whatever its standing.
    pub(super) fn doubted_until(&self, ip: IpAddr, uid: &str) -> Option<Instant> {
        self.tenant(ip, uid)?.doubted_until
    }

    fn tenant(&self, ip: IpAddr, uid: &str) -> Option<&Tenant> {
        self.at.get(&ip)?.iter().find(|tenant| *tenant.uid == *uid)
    }
}
