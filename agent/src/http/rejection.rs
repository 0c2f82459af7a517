//! Why a request was turned down, in a few kinds that an alert can be made of. The exact code is
//! [`error::code`](super::error::code)'s.

use kiam_common::reason::Reason;

use crate::error::Error;

/// The kind of a refusal: the `reason` label of `kiam_requests_rejected_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rejection {
    /// The pod, or all of them together, took more than there is.
    OverCapacity,
    /// The agent ended before the answer.
    ShuttingDown,
    /// The pod may not have what it asked for.
    Forbidden,
    /// It is not known which pod asks.
    UnknownPod,
    /// The pod has no role.
    NoRole,
    /// The session token is missing, wrong, or asked for in a wrong way.
    Unauthorized,
    /// The request's shape.
    Malformed,
    /// No pod gets this path.
    NotServed,
    /// No server could say.
    ServerUnavailable,
    /// STS gave nothing.
    Sts,
    /// The instance metadata service gave nothing.
    MetadataService,
    /// A defect, here or in the server.
    Internal,
}

impl Rejection {
    /// Every kind, for metrics that show each from the start.
    pub(crate) const ALL: [Self; 12] = [
        Self::OverCapacity,
        Self::ShuttingDown,
        Self::Forbidden,
        Self::UnknownPod,
        Self::NoRole,
        Self::Unauthorized,
        Self::Malformed,
        Self::NotServed,
        Self::ServerUnavailable,
        Self::Sts,
        Self::MetadataService,
        Self::Internal,
    ];

    /// The label.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::OverCapacity => "over_capacity",
            Self::ShuttingDown => "shutting_down",
            Self::Forbidden => "forbidden",
            Self::UnknownPod => "unknown_pod",
            Self::NoRole => "no_role",
            Self::Unauthorized => "unauthorized",
            Self::Malformed => "malformed",
            Self::NotServed => "not_served",
            Self::ServerUnavailable => "server_unavailable",
            Self::Sts => "sts",
            Self::MetadataService => "metadata_service",
            Self::Internal => "internal",
        }
    }

    /// The kind that an error is of.
    pub(crate) fn of(error: &Error) -> Self {
        match error {
            Error::TooManyConnections | Error::TooManyRequests | Error::Busy => Self::OverCapacity,
            Error::Malformed(_) | Error::MethodNotAllowed { .. } | Error::TokenTtl | Error::IpQuery => Self::Malformed,
            Error::Forwarded | Error::VersionedToken | Error::TokenMissing | Error::Token => Self::Unauthorized,
            Error::NodeIdentity | Error::NotAllowed => Self::NotServed,
            Error::Refused(refusal) => Self::of_refusal(refusal.reason),
            Error::IncompleteCredentials(_) => Self::Internal,
            Error::ServerUnwell(_) => Self::ServerUnavailable,
            Error::MetadataUnreachable | Error::MetadataTimeout | Error::MetadataStatus(_) => Self::MetadataService,
        }
    }

    fn of_refusal(reason: Reason) -> Self {
        match reason {
            Reason::NoRole => Self::NoRole,
            Reason::PodNotFound | Reason::PodAmbiguous | Reason::Unconfirmed => Self::UnknownPod,
            Reason::Forbidden | Reason::InvalidAnnotation | Reason::WrongNode => Self::Forbidden,
            Reason::StsRefused | Reason::StsUnavailable => Self::Sts,
            Reason::AgentRefused | Reason::ServerNotReady | Reason::ServerUnreachable | Reason::Stale => {
                Self::ServerUnavailable
            }
            Reason::BadRequest => Self::Malformed,
            Reason::Internal => Self::Internal,
        }
    }
}
