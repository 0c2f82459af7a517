//! What an agent is told, as `kiam.node.v1` messages. Each is made at the moment when the connection takes it, so that
//! the life of credentials is counted from there, and nothing secret waits in a queue.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use kiam_common::clock::Clock;
use kiam_common::credentials::Issued;
use kiam_proto::encoding::node as wire;
use kiam_proto::encoding::node::bind::Decision;
use kiam_proto::encoding::node::server_message::Message as Wire;

use super::Supplier;
use crate::desk::told::Message;
use crate::directory::pods::Pod;
use crate::error::Error;
use crate::grpc::fleet::{Connected, VERSION};
use crate::grpc::status::refusal;
use crate::role::AnnotatedRole;

/// What goes to an agent, in the server's own terms.
#[derive(Debug)]
pub(super) enum Outgoing {
    Welcome,
    News(Message),
    SnapshotEnd,
    GoAway(&'static str),
    MetricsWanted(u64),
}

/// The kinds of messages, for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `Welcome`
    Welcome,
    /// `SnapshotEnd`
    SnapshotEnd,
    /// `Bind`
    Bind,
    /// `Unbind`
    Unbind,
    /// `Grant`
    Grant,
    /// `Withhold`
    Withhold,
    /// `Revoke`
    Revoke,
    /// `GoAway`
    GoAway,
    /// `MetricsWanted`
    MetricsWanted,
}

impl Kind {
    /// Every kind, for metrics that show each from the start.
    pub const ALL: [Self; 9] = [
        Self::Welcome,
        Self::SnapshotEnd,
        Self::Bind,
        Self::Unbind,
        Self::Grant,
        Self::Withhold,
        Self::Revoke,
        Self::GoAway,
        Self::MetricsWanted,
    ];

    /// The name in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Welcome => "welcome",
            Self::SnapshotEnd => "snapshot_end",
            Self::Bind => "bind",
            Self::Unbind => "unbind",
            Self::Grant => "grant",
            Self::Withhold => "withhold",
            Self::Revoke => "revoke",
            Self::GoAway => "go_away",
            Self::MetricsWanted => "metrics_wanted",
        }
    }

    const fn of(message: &Wire) -> Self {
        match message {
            Wire::Welcome(_) => Self::Welcome,
            Wire::SnapshotEnd(_) => Self::SnapshotEnd,
            Wire::Bind(_) => Self::Bind,
            Wire::Unbind(_) => Self::Unbind,
            Wire::Grant(_) => Self::Grant,
            Wire::Withhold(_) => Self::Withhold,
            Wire::Revoke(_) => Self::Revoke,
            Wire::GoAway(_) => Self::GoAway,
            Wire::MetricsWanted(_) => Self::MetricsWanted,
        }
    }
}

/// Encodes the messages of one stream, and numbers them.
pub(super) struct Encoder {
    supplier: Arc<Supplier>,
    connected: Arc<Connected>,
    sequence: u64,
}

impl Encoder {
    pub(super) fn new(supplier: Arc<Supplier>, connected: Arc<Connected>) -> Self {
        Self { supplier, connected, sequence: 0 }
    }

    /// The next message.
    pub(super) fn encode(&mut self, outgoing: Outgoing) -> wire::ServerMessage {
        let message = match outgoing {
            Outgoing::Welcome => Wire::Welcome(wire::Welcome {
                server_version: VERSION.into(),
                features: self.connected.features(),
                node: self.connected.node.to_string(),
            }),
            Outgoing::News(message) => news(message, &self.supplier.clock),
            Outgoing::SnapshotEnd => Wire::SnapshotEnd(wire::SnapshotEnd {}),
            Outgoing::GoAway(reason) => Wire::GoAway(wire::GoAway { reason: reason.into() }),
            Outgoing::MetricsWanted(id) => Wire::MetricsWanted(wire::MetricsWanted { id }),
        };
        self.sequence += 1;
        self.connected.sent.store(self.sequence, Ordering::Relaxed);
        self.supplier.metrics.sent(Kind::of(&message));
        wire::ServerMessage { sequence: self.sequence, message: Some(message) }
    }
}

/// News of the desk as an agent is told of it now, by the clock of the vault.
pub fn news(message: Message, clock: &Clock) -> Wire {
    match message {
        Message::Bind { ip, pod, role, session } => bind(ip, &pod, Decision::Role(bound_role(&role, session))),
        Message::Refuse { ip, pod, error } => bind(ip, &pod, Decision::Refusal(to_wire(&error))),
        Message::Unbind { ip } => Wire::Unbind(wire::Unbind { ip: ip.to_string() }),
        Message::Grant { session, issued, ends } => grant(session, &issued, clock.until(ends)),
        Message::Withhold { session, error } => {
            Wire::Withhold(wire::Withhold { session, refusal: Some(to_wire(&Error::Sts(error))) })
        }
        Message::Revoke { session } => Wire::Revoke(wire::Revoke { session }),
    }
}

fn grant(session: u64, issued: &Issued, life: Duration) -> Wire {
    Wire::Grant(wire::Grant { session, credentials: Some(issued.encoded.clone()), life_ms: milliseconds(life) })
}

fn bind(ip: IpAddr, pod: &Pod, decision: Decision) -> Wire {
    let pod = wire::Pod { uid: pod.uid.to_string(), namespace: pod.namespace.to_string(), name: pod.name.to_string() };
    Wire::Bind(wire::Bind { ip: ip.to_string(), pod: Some(pod), decision: Some(decision) })
}

fn bound_role(role: &AnnotatedRole, session: u64) -> wire::BoundRole {
    wire::BoundRole { name: role.text.to_string(), arn: role.arn().to_string(), session }
}

fn to_wire(error: &Error) -> wire::Refusal {
    let refusal = refusal(error);
    wire::Refusal {
        reason: refusal.reason.as_str().into(),
        message: refusal.message,
        aws_code: refusal.aws_code.unwrap_or_default(),
    }
}

fn milliseconds(life: Duration) -> u64 {
    u64::try_from(life.as_millis()).unwrap_or(u64::MAX)
}
