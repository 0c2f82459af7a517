//! Getting credentials from AWS: the one thing that the vault needs of the outside. [`aws`] is the real one; [`fake`]
//! answers as a test says.

pub mod aws;
#[cfg(feature = "testing")]
pub mod fake;

use std::time::Duration;

use async_trait::async_trait;
use kiam_common::credentials::Credentials;
use kiam_common::role::RoleIdentity;

/// AssumeRole.
#[async_trait]
pub trait Sts: Send + Sync + 'static {
    /// Starts a session of a role, asking for this length, in one attempt.
    async fn assume_role(&self, identity: &RoleIdentity, duration: Duration) -> Result<Session, StsError>;
}

/// A session of a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// What STS gave.
    pub credentials: Credentials,
    /// How long it lives, by the clock of STS and whatever the clock here may show.
    pub life: Duration,
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
    /// STS gives no session as long as was asked for.
    TooLong,
    /// STS was asked too often.
    Throttled,
    /// STS did not answer in time, or failed.
    Unavailable,
    /// The server has no good credentials of its own.
    OwnCredentials,
}

impl StsErrorKind {
    /// Every kind, for metrics that show each from the start.
    pub const ALL: [Self; 5] = [Self::Refused, Self::TooLong, Self::Throttled, Self::Unavailable, Self::OwnCredentials];

    /// The name in metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::TooLong => "too_long",
            Self::Throttled => "throttled",
            Self::Unavailable => "unavailable",
            Self::OwnCredentials => "own_credentials",
        }
    }

    /// Whether STS decided against this role, and will again until somebody changes something.
    pub const fn is_refusal(self) -> bool {
        matches!(self, Self::Refused | Self::TooLong)
    }

    /// Whether the same call may well succeed a moment later.
    pub const fn is_transient(self) -> bool {
        matches!(self, Self::Throttled | Self::Unavailable)
    }
}

impl StsError {
    /// Whether STS answered as a service at work does, although with no credentials.
    pub const fn is_answer(&self) -> bool {
        match self.kind {
            StsErrorKind::Refused | StsErrorKind::TooLong | StsErrorKind::Throttled => true,
            StsErrorKind::Unavailable => false,
            // The server may have found none to ask with.
            StsErrorKind::OwnCredentials => self.code.is_some(),
        }
    }

    /// STS did not answer as it should.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self { kind: StsErrorKind::Unavailable, code: None, message: message.into() }
    }
}
