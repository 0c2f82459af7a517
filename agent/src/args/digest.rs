//! A digest of the flags, for finding the agent that is set up unlike the others. The server shows it for each node.

use ring::digest::{SHA256, digest};

use super::AgentArgs;

impl AgentArgs {
    /// The same for all agents of a DaemonSet: what differs between nodes by nature is left out. Of certificates and
    /// keys it has the files' names only.
    pub(crate) fn digest(&self) -> String {
        let mut alike = self.clone();
        alike.supply.node_name = String::new();
        alike.bind = None;
        alike.intercept = alike.intercept.without_hosts();
        let digest = digest(&SHA256, format!("{alike:?}").as_bytes());
        // Enough to tell any two apart.
        let first = digest.as_ref().first_chunk().copied().unwrap_or_default();
        format!("{:016x}", u64::from_be_bytes(first))
    }
}
