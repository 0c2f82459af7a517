//! The node's network, as its kernel has it: where pods' addresses lead, and when that changes. The ledger pins its
//! bindings to it. `app.rs` builds a [`Watcher`]; the listener has it [`settle`](Watcher::settle) before each connection.
//!
//! What must always hold: what the kernel reported before a connection was accepted is known to the ledger before that
//! connection's first request is answered. The kernel knows a pod's link before it can finish that pod's handshake, so
//! no request of a new pod is taken for one of the last pod at its address.

mod kernel;
mod message;
mod watcher;

use std::io;
use std::sync::Arc;

use crate::ledger::{Network, Opaque};
use kernel::Kernel;
pub(crate) use watcher::{Reports, Watcher};

/// Where the kernel has addresses lead, and its reports of changes. Without either nothing is pinned, and so nothing
/// outlives the loss of the servers for long.
pub(crate) fn open() -> (Arc<dyn Network>, Option<Reports>) {
    let opened = Reports::open().and_then(|reports| io::Result::Ok((Kernel::open()?, reports)));
    match opened {
        Ok((kernel, reports)) => (Arc::new(kernel), Some(reports)),
        Err(error) => {
            tracing::warn!(%error, "the kernel does not say where addresses lead: pods cannot be pinned to them");
            (Arc::new(Opaque), None)
        }
    }
}
