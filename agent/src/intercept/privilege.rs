//! The rights of the agent's threads: one changes the network, all others need none. `app.rs` and the keeper call this
//! for the thread that they are in.
//!
//! What must always hold: rights are only ever given up, and what the agent starts never has more than itself.

use std::io;

use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set, set_capabilities, set_no_new_privs,
};

/// What changing rules takes; iptables' older kind opens a raw socket.
const CHANGE_THE_NETWORK: CapabilitySet = CapabilitySet::NET_ADMIN.union(CapabilitySet::NET_RAW);

/// Gives up what starting does not take, ports below 1024 included. Threads that are started later begin so.
pub(crate) fn keep_to_start() {
    keep(CHANGE_THE_NETWORK.union(CapabilitySet::NET_BIND_SERVICE));
}

/// Gives up what changing rules does not take.
pub(crate) fn keep_to_change_the_network() {
    keep(CHANGE_THE_NETWORK);
}

/// Gives up everything.
pub(crate) fn keep_nothing() {
    keep(CapabilitySet::empty());
}

fn keep(rights: CapabilitySet) {
    if let Err(error) = try_to_keep(rights) {
        tracing::warn!(%error, "cannot give up rights that are not needed");
    }
}

fn try_to_keep(rights: CapabilitySet) -> io::Result<()> {
    let permitted = capabilities(None)?.permitted & rights;
    set_no_new_privs(true)?;
    clear_ambient_capability_set()?;
    set_capabilities(None, CapabilitySets { effective: permitted, permitted, inheritable: CapabilitySet::empty() })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn held() -> CapabilitySet {
        let sets = capabilities(None).unwrap();
        sets.effective | sets.permitted | sets.inheritable
    }

    #[test]
    fn rights_are_given_up_step_by_step_and_never_come_back() {
        let before = held();
        thread::spawn(move || {
            keep_to_start();
            assert_eq!(held() - before, CapabilitySet::empty());
            assert_eq!(held() - CapabilitySet::NET_BIND_SERVICE - CHANGE_THE_NETWORK, CapabilitySet::empty());
            keep_to_change_the_network();
            assert_eq!(held() - CHANGE_THE_NETWORK, CapabilitySet::empty());
            keep_nothing();
            assert_eq!(held(), CapabilitySet::empty());
            keep_to_start();
            assert_eq!(held(), CapabilitySet::empty());
            assert!(rustix::thread::no_new_privs().unwrap());
        })
        .join()
        .unwrap();
        assert_eq!(held(), before, "other threads keep theirs");
    }
}
