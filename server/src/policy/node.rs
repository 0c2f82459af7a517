//! Whose pods an agent may ask for: those of its own node. Which node that is, [`crate::node_binding`] finds out.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// An agent, as far as it is known which node it is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Nothing binds it to a node: it may ask for every pod, as in Kiam.
    Unbound,
    /// It is of this node.
    Node(Arc<str>),
    /// It is of the node with this address.
    Address(IpAddr),
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unbound => f.write_str("any"),
            Self::Node(node) => f.write_str(node),
            Self::Address(address) => address.fmt(f),
        }
    }
}

/// Whether an agent may have what is of `node`; a pod that is on no node yet is nobody's. `has_address` says whether a
/// node has an address.
pub fn permits(caller: &Caller, node: Option<&str>, has_address: impl FnOnce(&str, IpAddr) -> bool) -> bool {
    match caller {
        Caller::Unbound => true,
        Caller::Node(own) => node == Some(&**own),
        Caller::Address(address) => node.is_some_and(|node| has_address(node, *address)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_may_have_what_is_of_its_own_node() {
        let host: IpAddr = "10.1.0.1".parse().unwrap();
        let has_address = |node: &str, address| node == "a" && address == host;
        let permitted = |caller: &Caller| [Some("a"), Some("b"), None].map(|node| permits(caller, node, has_address));
        assert_eq!(permitted(&Caller::Unbound), [true, true, true]);
        assert_eq!(permitted(&Caller::Node("a".into())), [true, false, false]);
        assert_eq!(permitted(&Caller::Address(host)), [true, false, false]);
        assert_eq!(permitted(&Caller::Address("10.1.0.2".parse().unwrap())), [false, false, false]);
        assert_eq!(permitted(&Caller::Node("".into())), [false, false, false], "no name is no pod's node");
    }
}
