//! The door: with the real rules in the kernel, in network namespaces, pods reach the agent or nobody. `tests/run` sets
//! up what this needs: ip, nft, iptables and unshare.

mod backends;
mod catching;
mod closing;
mod commands;
mod repairing;
mod replacing;
mod sdks;
