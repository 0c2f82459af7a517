//! From annotations to a role identity. A pod's annotations are read once, when the directory learns of them; what
//! comes out is either an identity that STS will understand or the reason why there is none.

pub mod autodetect;
pub mod resolver;

use std::sync::Arc;

use kiam_common::role::{ArnError, ExternalIdError, RoleArn, RoleIdentity};

use crate::error::Error;

/// Pod annotation: the role's name, path and name, or ARN.
pub const ROLE: &str = "iam.amazonaws.com/role";
/// Pod annotation: replaces `--session` for this pod.
pub const SESSION_NAME: &str = "iam.amazonaws.com/session-name";
/// Pod annotation: the ExternalId sent to STS.
pub const EXTERNAL_ID: &str = "iam.amazonaws.com/external-id";

/// The annotations of a pod that say which role it wants, as they were found. An empty one counts as absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoleAnnotations {
    /// [`ROLE`]
    pub role: Option<String>,
    /// [`SESSION_NAME`]
    pub session_name: Option<String>,
    /// [`EXTERNAL_ID`]
    pub external_id: Option<String>,
}

/// What a pod's annotations come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PodRole {
    /// The pod asks for no role.
    Absent,
    /// The pod asks for a role in words that cannot be understood.
    Invalid(Arc<AnnotationError>),
    /// The pod asks for this role.
    Annotated(AnnotatedRole),
}

impl PodRole {
    /// The role, if the pod asks for one in words that can be understood.
    pub fn annotated(&self) -> Result<&AnnotatedRole, Error> {
        match self {
            Self::Annotated(role) => Ok(role),
            Self::Absent => Err(Error::NoRole),
            Self::Invalid(error) => Err(Error::InvalidAnnotation(Arc::clone(error))),
        }
    }
}

/// A role that a pod is annotated with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnnotatedRole {
    /// The annotation's own text: what `GetPodRole` answers.
    pub text: Arc<str>,
    /// What it resolves to, with the session name and external id.
    pub identity: Arc<RoleIdentity>,
}

impl AnnotatedRole {
    /// The resolved role.
    pub fn arn(&self) -> &RoleArn {
        &self.identity.arn
    }
}

/// Why a pod's annotations name no role identity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnnotationError {
    /// The role does not resolve to an ARN.
    #[error("annotation {ROLE}: {0}")]
    Role(#[source] ArnError),
    /// STS would not take the external id.
    #[error("annotation {EXTERNAL_ID}: {0}")]
    ExternalId(#[source] ExternalIdError),
}
