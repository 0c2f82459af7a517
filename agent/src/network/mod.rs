//! The node's network, as its kernel has it: where pods' addresses lead, and when that changes. The ledger pins its
//! bindings to it. `app.rs` builds a [`Watcher`]; the listener has it [`settle`](Watcher::settle) before each connection.
//!
//! What must always hold: what the kernel reported before a connection was accepted is known to the ledger before that
//! connection's first request is answered. The kernel knows a pod's link before it can finish that pod's handshake, so
//! no request of a new pod is taken for one of the last pod at its address.

mod kernel;
mod message;
mod socket;
mod watcher;

pub(crate) use kernel::Kernel;
pub(crate) use watcher::Watcher;
