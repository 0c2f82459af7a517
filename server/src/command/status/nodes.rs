//! A node as `status` shows it.

use jiff::Timestamp;
use kiam_proto::node as wire;
use kiam_proto::node::Interception;
use serde::Serialize;

/// A stream of a node's agent, and what the agent last said.
#[derive(Debug, Serialize)]
pub(super) struct Node {
    pub(super) name: String,
    /// Who supplies it.
    pub(super) server: String,
    #[serde(skip)]
    pub(super) server_version: String,
    pub(super) version: String,
    pub(super) config: String,
    pub(super) peer: String,
    pub(super) binding: String,
    pub(super) connected_since: Timestamp,
    pub(super) last_seen: Timestamp,
    /// Messages sent, and not in effect yet.
    pub(super) lag: Option<u64>,
    pub(super) requests: Option<u64>,
    pub(super) pinned: Option<u32>,
    pub(super) unpinned: Option<u32>,
    pub(super) interception: Rules,
    pub(super) certificate_ends: Option<Timestamp>,
}

/// The rules that bring pods' requests to the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Rules {
    /// The agent keeps none, or has said nothing yet.
    None,
    Healthy,
    Broken,
}

impl Rules {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::None => "-",
            Self::Healthy => "healthy",
            Self::Broken => "BROKEN",
        }
    }
}

impl Node {
    pub(super) fn new(node: wire::Node, server: &str, server_version: &str) -> Self {
        let status = node.status;
        let rules = |status: wire::Status| match status.interception() {
            Interception::Unspecified => Rules::None,
            Interception::Healthy => Rules::Healthy,
            Interception::Broken => Rules::Broken,
        };
        let ends = status.map(|status| status.certificate_not_after).filter(|ends| *ends != 0);
        Self {
            server: server.into(),
            server_version: server_version.into(),
            connected_since: instant(node.connected_since),
            last_seen: instant(node.last_seen),
            lag: status.map(|status| node.sent_sequence.saturating_sub(status.applied_sequence)),
            requests: status.map(|status| status.requests),
            pinned: status.map(|status| status.pinned),
            unpinned: status.map(|status| status.unpinned),
            interception: status.map_or(Rules::None, rules),
            certificate_ends: ends.map(instant),
            name: node.name,
            version: node.agent_version,
            config: node.config_hash,
            peer: node.peer,
            binding: node.binding,
        }
    }
}

/// Seconds since 1970; what is out of range says nothing.
fn instant(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap_or_default()
}
