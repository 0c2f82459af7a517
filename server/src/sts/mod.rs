//! Getting credentials from AWS: the one thing that the vault needs of the outside. [`aws`] is the real one; [`fake`]
//! answers as a test says.

pub mod aws;
#[cfg(feature = "testing")]
pub mod fake;

use async_trait::async_trait;
use kiam_common::credentials::Credentials;
use kiam_common::role::RoleIdentity;

/// AssumeRole.
#[async_trait]
pub trait Sts: Send + Sync + 'static {
    /// Starts a session of a role.
    async fn assume_role(&self, identity: &RoleIdentity) -> Result<Credentials, StsError>;
}

/// Why there are no credentials, in AWS's own words where it gave any.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{message}", code.as_ref().map(|code| format!("{code}: ")).unwrap_or_default())]
pub struct StsError {
    /// Whose trouble it is.
    pub kind: StsErrorKind,
    /// The error code of STS, such as `AccessDenied`.
    pub code: Option<String>,
    /// The message of STS, or what went wrong on the way; safe to print.
    pub message: String,
}

/// Whose trouble it is when STS gives no credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StsErrorKind {
    /// STS refuses this role to this server: its trust policy, its name, its external id.
    Refused,
    /// STS did not answer in time, throttled, or failed.
    Unavailable,
    /// The server has no good credentials of its own.
    OwnCredentials,
}

impl StsErrorKind {
    /// Every kind, for metrics that show each from the start.
    pub const ALL: [Self; 3] = [Self::Refused, Self::Unavailable, Self::OwnCredentials];

    /// The name in metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Unavailable => "unavailable",
            Self::OwnCredentials => "own_credentials",
        }
    }
}

impl StsError {
    /// STS did not answer as it should.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self { kind: StsErrorKind::Unavailable, code: None, message: message.into() }
    }
}
