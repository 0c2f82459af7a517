//! Why a pod gets no credentials, as a value that travels: in the gRPC status as an `ErrorInfo`, in the answer to
//! the pod as its `Code`, in metrics as a label. Never told apart by comparing messages, but for Kiam v4's two.

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// The `ErrorInfo` domain of every reason.
const DOMAIN: &str = "kiam-rs";
/// The `ErrorInfo` metadata key that carries the error code of STS, such as `AccessDenied`.
const AWS_CODE: &str = "aws_code";

/// Why a request was not answered with what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// No live pod has that IP, as far as the server knows.
    PodNotFound,
    /// Two or more live pods have that IP; nobody guesses.
    PodAmbiguous,
    /// The pod has no role annotation.
    NoRole,
    /// An annotation of the pod or its namespace cannot be understood.
    InvalidAnnotation,
    /// Policy does not let the pod have the role.
    Forbidden,
    /// The server does not know which node the agent is of, and so gives it nothing.
    AgentRefused,
    /// The pod is another node's than the agent that asks for it.
    WrongNode,
    /// STS refused the role: `AccessDenied`, `ValidationError` and the like.
    StsRefused,
    /// STS did not answer, throttled, or failed; or the server's own credentials are not good.
    StsUnavailable,
    /// The server has not listed pods and namespaces yet, or is stopping.
    ServerNotReady,
    /// No server could be reached in time.
    ServerUnreachable,
    /// The agent has been without a server for too long to know that the address is still the same pod's.
    Stale,
    /// The network says that another pod may have the address now, and no server has said which.
    Unconfirmed,
    /// The request itself cannot be understood.
    BadRequest,
    /// A defect of the answering program.
    Internal,
}

impl Reason {
    /// Every reason, for metrics that show each from the start.
    pub const ALL: [Self; 15] = [
        Self::PodNotFound,
        Self::PodAmbiguous,
        Self::NoRole,
        Self::InvalidAnnotation,
        Self::Forbidden,
        Self::AgentRefused,
        Self::WrongNode,
        Self::StsRefused,
        Self::StsUnavailable,
        Self::ServerNotReady,
        Self::ServerUnreachable,
        Self::Stale,
        Self::Unconfirmed,
        Self::BadRequest,
        Self::Internal,
    ];

    /// The name in `ErrorInfo` and in the `Code` of an answer.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PodNotFound => "PodNotFound",
            Self::PodAmbiguous => "PodAmbiguous",
            Self::NoRole => "NoRole",
            Self::InvalidAnnotation => "InvalidAnnotation",
            Self::Forbidden => "Forbidden",
            Self::AgentRefused => "AgentRefused",
            Self::WrongNode => "WrongNode",
            Self::StsRefused => "StsRefused",
            Self::StsUnavailable => "StsUnavailable",
            Self::ServerNotReady => "ServerNotReady",
            Self::ServerUnreachable => "ServerUnreachable",
            Self::Stale => "Stale",
            Self::Unconfirmed => "Unconfirmed",
            Self::BadRequest => "BadRequest",
            Self::Internal => "Internal",
        }
    }

    /// The gRPC code beside it.
    pub const fn grpc_code(self) -> Code {
        match self {
            Self::PodNotFound => Code::NotFound,
            Self::PodAmbiguous | Self::NoRole | Self::InvalidAnnotation | Self::StsRefused => Code::FailedPrecondition,
            Self::Forbidden | Self::WrongNode => Code::PermissionDenied,
            Self::AgentRefused => Code::Unauthenticated,
            Self::StsUnavailable | Self::ServerNotReady | Self::ServerUnreachable | Self::Stale | Self::Unconfirmed => {
                Code::Unavailable
            }
            Self::BadRequest => Code::InvalidArgument,
            Self::Internal => Code::Internal,
        }
    }

    /// The reason of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == name)
    }
}

/// A reason with its words, as it crosses the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Which reason.
    pub reason: Reason,
    /// One sentence for people; safe to print.
    pub message: String,
    /// The error code that STS gave, if it gave one.
    pub aws_code: Option<String>,
}

impl Refusal {
    /// The gRPC status that carries it. Kiam's agents tell two refusals by their exact message, so those two have
    /// exactly that; the words go into the `ErrorInfo`.
    pub fn to_status(&self) -> Status {
        let message = match self.reason {
            Reason::PodNotFound => "no pod found",
            Reason::Forbidden => "forbidden by policy",
            _ => self.message.as_str(),
        };
        let mut metadata = std::collections::HashMap::from([("message".to_owned(), self.message.clone())]);
        if let Some(code) = &self.aws_code {
            metadata.insert(AWS_CODE.to_owned(), code.clone());
        }
        let details = tonic_types::ErrorDetails::with_error_info(self.reason.as_str(), DOMAIN, metadata);
        Status::with_error_details(self.reason.grpc_code(), message, details)
    }

    /// Reads a status back. One that carries no `ErrorInfo` of ours comes from a Kiam v4 server, which is known by
    /// its two messages, or from the transport.
    pub fn from_status(status: &Status) -> Self {
        let details = status.get_details_error_info().filter(|info| info.domain == DOMAIN);
        if let Some((info, reason)) =
            details.and_then(|info| Reason::from_name(&info.reason).map(|reason| (info, reason)))
        {
            let message = info.metadata.get("message").cloned().unwrap_or_else(|| status.message().to_owned());
            return Self { reason, message, aws_code: info.metadata.get(AWS_CODE).cloned() };
        }
        let reason = match (status.message(), status.code()) {
            ("no pod found", _) => Reason::PodNotFound,
            ("forbidden by policy", _) => Reason::Forbidden,
            (_, Code::InvalidArgument) => Reason::BadRequest,
            (_, Code::Unavailable | Code::Cancelled | Code::DeadlineExceeded) => Reason::ServerUnreachable,
            _ => Reason::Internal,
        };
        Self { reason, message: status.message().to_owned(), aws_code: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_crosses_the_wire_whole() {
        for reason in Reason::ALL {
            let sent = Refusal { reason, message: "why".into(), aws_code: Some("AccessDenied".into()) };
            assert_eq!(Refusal::from_status(&sent.to_status()), sent);
        }
    }

    #[test]
    fn kiams_agents_find_the_two_messages_they_compare() {
        let status = |reason| Refusal { reason, message: "why".into(), aws_code: None }.to_status();
        assert_eq!(status(Reason::PodNotFound).message(), "no pod found");
        assert_eq!(status(Reason::PodNotFound).code(), Code::NotFound);
        assert_eq!(status(Reason::Forbidden).message(), "forbidden by policy");
        assert_eq!(status(Reason::Forbidden).code(), Code::PermissionDenied);
    }

    #[test]
    fn kiams_servers_are_understood() {
        let reason = |message| Refusal::from_status(&Status::unknown(message)).reason;
        assert_eq!(reason("no pod found"), Reason::PodNotFound);
        assert_eq!(reason("forbidden by policy"), Reason::Forbidden);
        assert_eq!(reason("anything else"), Reason::Internal);
    }
}
