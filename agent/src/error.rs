//! Everything that can go wrong for a request, in the agent's own words, and for the agent's start.
//!
//! `http/error.rs` is the one place that turns an [`Error`] into an answer; nothing here ever carries a secret.

use kiam_common::reason::Refusal;

use crate::document::Incomplete;
use crate::http::guard::Malformed;

/// Why a request is not answered with what it asked for. Its words go to the pod.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    /// The request's shape.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The path does not take the method.
    #[error("this path takes {allow} only")]
    MethodNotAllowed {
        /// The methods that it takes.
        allow: &'static str,
    },
    /// A request through a proxy that has to do with session tokens: the sign of one that forwards for strangers.
    #[error("requests with session tokens must not come through a proxy: X-Forwarded-For is present")]
    Forwarded,
    /// A token was asked for under a version.
    #[error("session tokens are given at /latest/api/token only")]
    VersionedToken,
    /// A token was asked for without a sound life.
    #[error("X-aws-ec2-metadata-token-ttl-seconds must be present, a number from 1 to 21600")]
    TokenTtl,
    /// None was presented where one is required.
    #[error("X-aws-ec2-metadata-token must be present: get a session token first, with PUT /latest/api/token")]
    TokenMissing,
    /// The token is not this pod's, not ours, or has ended.
    #[error("the session token is not valid for this pod, or has expired")]
    Token,
    /// `?ip=` is no address.
    #[error("the query's ip must be an IP address")]
    IpQuery,
    /// `iam/` or `identity-credentials/`.
    #[error("the node's own identity is not served to pods")]
    NodeIdentity,
    /// Neither `--allow-routes`, `--allow-route-regexp` nor `--allow-user-data` names the path.
    #[error("this path is not served to pods")]
    NotAllowed,
    /// `--max-connections-per-pod`, or the pod's share of what is left.
    #[error("this pod has too many connections to the metadata service open")]
    TooManyConnections,
    /// `--max-requests-per-pod`.
    #[error("too many requests of this pod are being answered")]
    TooManyRequests,
    /// `--max-connections`: there are more pods than connections.
    #[error("the metadata service has no connection free")]
    Busy,
    /// The server's word, or the lack of it.
    #[error("{}", told(.0))]
    Refused(Refusal),
    /// What the server called credentials has no key, secret, token or end.
    #[error(transparent)]
    IncompleteCredentials(#[from] Incomplete),
    /// The server is reached but not well.
    #[error("the server says that it is not well: {0}")]
    ServerUnwell(String),
    /// The instance metadata service cannot be reached, or breaks off.
    #[error("the instance metadata service cannot be reached")]
    MetadataUnreachable,
    /// The instance metadata service does not answer in time.
    #[error("the instance metadata service did not answer in time")]
    MetadataTimeout,
    /// The instance metadata service answers something else than 200 to the agent's own request.
    #[error("the instance metadata service answered {0}")]
    MetadataStatus(u16),
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// The refusal's words, with the code of STS in front if they do not begin with it.
fn told(refusal: &Refusal) -> String {
    match refusal.aws_code.as_deref() {
        Some(code) if !refusal.message.contains(code) => format!("{code}: {}", refusal.message),
        _ => refusal.message.clone(),
    }
}

/// Why the agent did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A certificate, key or CA that cannot be used.
    #[error(transparent)]
    Tls(#[from] kiam_common::tls::TlsError),
    /// A token file that cannot be used.
    #[error(transparent)]
    Token(#[from] crate::sync::token::TokenError),
    /// Flags that do not go together.
    #[error("{0}")]
    Flags(String),
    /// Intercepted requests would be sent elsewhere.
    #[error("--host: {address} is no address of this node: {source}")]
    Host {
        /// What was given.
        address: std::net::IpAddr,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The rules could not be written; the error names the rule and has the kernel's answer.
    #[error("--intercept: {0}")]
    Interception(#[from] crate::intercept::Error),
    /// The metadata port is not to be had.
    #[error("--bind, --port: cannot listen on {address}: {source}")]
    Listen {
        /// What was asked for.
        address: std::net::SocketAddr,
        /// The system's answer.
        source: std::io::Error,
    },
    /// There is no listener for metrics or profiles; the error names the flag and the address or file.
    #[error(transparent)]
    Ops(#[from] kiam_common::ops::OpsError),
    /// Two metrics of one name: a defect.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}
