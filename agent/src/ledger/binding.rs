//! What a server says of an address: whose it is, and what that pod may have. Made by `sync/decode.rs`.

use std::fmt;
use std::net::IpAddr;

use bytes::Bytes;
use kiam_common::reason::{Reason, Refusal};
use tokio::time::Instant;

use crate::document::Documents;

/// A role session's number. It is the stream's own: a number of one stream means nothing on another.
pub(crate) type Session = u64;

/// The pod at an address, and the decision about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Binding {
    /// The pod's uid, which no other pod ever has.
    pub(crate) uid: Box<str>,
    /// The pod's namespace, for people.
    pub(crate) namespace: Box<str>,
    /// The pod's name, for people.
    pub(crate) name: Box<str>,
    /// What it may have.
    pub(crate) decision: Decision,
}

impl Binding {
    /// Whether several pods have the address at once, so that the binding speaks for none of them.
    pub(super) fn is_shared(&self) -> bool {
        matches!(&self.decision, Decision::Refused(why) if why.reason == Reason::PodAmbiguous)
    }

    /// Whether both let the same pod have the same role.
    pub(super) fn is_of_same_role(&self, other: &Self) -> bool {
        match (&self.decision, &other.decision) {
            (Decision::Role(role), Decision::Role(others)) => self.uid == other.uid && role.arn == others.arn,
            (Decision::Role(_) | Decision::Refused(_), _) => false,
        }
    }
}

/// What a pod may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// The credentials of one role.
    Role(BoundRole),
    /// Nothing.
    Refused(Refusal),
}

/// The role that a pod may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BoundRole {
    /// The annotation's own text: what the list of credentials shows.
    pub(crate) name: Bytes,
    /// What it resolves to.
    pub(crate) arn: Box<str>,
    /// Which session's credentials the pod gets.
    pub(crate) session: Session,
}

impl BoundRole {
    /// Whether a request for `asked` means this role, as far as that is plain: the annotation's text, with or without
    /// the slash it may begin with, or the whole ARN. Any other spelling is the server's to judge.
    pub(crate) fn is_meant_by(&self, asked: &str) -> bool {
        without_slash(asked.as_bytes()) == without_slash(&self.name) || asked == &*self.arn
    }
}

fn without_slash(role: &[u8]) -> &[u8] {
    role.strip_prefix(b"/").unwrap_or(role)
}

/// Credentials as pods get them.
#[derive(Clone)]
pub(crate) struct Credentials {
    /// Rendered once.
    pub(crate) documents: Documents,
    /// When they end.
    pub(crate) ends: Instant,
}

impl fmt::Debug for Credentials {
    /// Shows no byte of the documents.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("ends", &self.ends).finish_non_exhaustive()
    }
}

/// One thing that a server says.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// What the pod at an address may have, from now on.
    Bind(IpAddr, Binding),
    /// No pod of the node has the address.
    Unbind(IpAddr),
    /// A session's credentials: its first, or renewed ones.
    Grant(Session, Credentials),
    /// Nobody needs the session's credentials any more.
    Revoke(Session),
}
