//! Interception: the rules in the kernel that bring pods' metadata requests to the agent, and shut the door when it is
//! away. Kept by the running agent (`keeper`), or written once by `kiam-agent intercept` (`command`).
//!
//! What must always hold: what a pod sends to a metadata address reaches the agent or nobody, whether or not an agent
//! runs. So the rules are written before the first answer, never taken away in between, and left at the end.

mod backend;
mod check;
pub(crate) mod command;
#[cfg(test)]
mod fake;
mod interface;
mod iptables;
pub(crate) mod keeper;
pub(crate) mod metrics;
mod nftables;
pub(crate) mod privilege;
mod rule;

use std::net::IpAddr;

pub use backend::Error;
pub use interface::Interfaces;
pub use rule::{Hosts, Plan};

use self::backend::Backend;
pub(crate) use self::backend::Found;

/// What writes the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// A table of nftables, by netlink.
    Nftables,
    /// Chains of iptables and ip6tables, by their programs.
    Iptables,
}

/// The interception that an agent keeps.
#[derive(Clone, Debug)]
pub struct Interception {
    /// What writes the rules.
    pub method: Method,
    /// What they say.
    pub plan: Plan,
    /// Whether they are taken away when the agent ends.
    pub remove_at_exit: bool,
}

impl Interception {
    fn backend(&self) -> Box<dyn Backend> {
        match self.method {
            Method::Nftables => Box::new(nftables::Nftables::new(&self.plan)),
            Method::Iptables => Box::new(iptables::Iptables::new(&self.plan)),
        }
    }

    /// Looks at what is there.
    pub(crate) async fn found(&self) -> Result<Found, Error> {
        self.backend().check().await
    }

    /// The node's addresses that requests are sent to.
    pub(crate) fn hosts(&self) -> impl Iterator<Item = IpAddr> {
        self.plan.hosts.addresses()
    }
}
