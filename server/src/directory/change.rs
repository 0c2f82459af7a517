//! What a change of the directory means to those who act on it: the vault gets credentials for what pods ask for
//! anew, and the desk looks again at the addresses whose pods may have something else from now on.

use std::net::IpAddr;
use std::sync::Arc;

use kiam_common::role::RoleIdentity;

/// The consequences of a change.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// What is asked for, if that is new.
    pub demands: Vec<Demand>,
    /// Where to look again.
    pub touched: Touched,
}

/// A role identity that a pod of a namespace asks for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Demand {
    /// What to get credentials of.
    pub identity: Arc<RoleIdentity>,
    /// Whose rule decides.
    pub namespace: Arc<str>,
    /// It is asked for because the pod's annotation or the namespace has changed: what AWS said before is worth asking
    /// again.
    pub changed: bool,
}

/// Where a change shows.
#[derive(Debug, PartialEq, Eq)]
pub enum Touched {
    /// At these addresses; perhaps nowhere.
    Addresses(Vec<Address>),
    /// Perhaps everywhere.
    Everything,
}

/// A pod's address, and the node that the pod runs on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    /// The Kubernetes node's name.
    pub node: Arc<str>,
    /// In canonical form.
    pub ip: IpAddr,
}

impl Default for Touched {
    fn default() -> Self {
        Self::Addresses(Vec::new())
    }
}

impl From<Vec<Address>> for Change {
    /// Nothing is asked for.
    fn from(addresses: Vec<Address>) -> Self {
        Self { demands: Vec::new(), touched: Touched::Addresses(addresses) }
    }
}
