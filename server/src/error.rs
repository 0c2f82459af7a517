//! Why a request is not answered with what it asks for, in the domain's words. [`Error::reason`] is the one place that
//! sorts them; [`crate::grpc::status`] turns them into what crosses the wire.

use std::net::IpAddr;
use std::sync::Arc;

use kiam_common::ops::Readiness;
use kiam_common::reason::Reason;
use kiam_common::role::ArnError;

use crate::node_binding::BindingError;
use crate::policy::Denial;
use crate::role::AnnotationError;
use crate::sts::{StsError, StsErrorKind};

/// A request that got no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Pods and namespaces have not been listed yet.
    #[error("the server has not read {} from the Kubernetes API yet", waiting_for.join(" and "))]
    NotReady {
        /// The readiness blockers that are still set.
        waiting_for: Vec<&'static str>,
    },
    /// The server takes nothing new.
    #[error("the server is stopping")]
    Stopping,
    /// An agent did not begin its stream as it should.
    #[error("{0}")]
    BadHello(&'static str),
    /// The request's IP cannot be parsed.
    #[error("{0:?} is not an IP address")]
    BadIp(String),
    /// The request is about no pod.
    #[error("no pod is named: expected its namespace and name, or its IP address")]
    BadSubject,
    /// The request's role cannot be resolved.
    #[error("the requested role cannot be resolved: {0}")]
    BadRole(#[source] ArnError),
    /// No live pod has the IP.
    #[error("no live pod has the IP {0}")]
    PodNotFound(IpAddr),
    /// Two or more live pods have the IP.
    #[error("more than one live pod has the IP {ip}: {}", pods.join(", "))]
    PodAmbiguous {
        /// The IP.
        ip: IpAddr,
        /// Some of the pods, by namespace and name.
        pods: Vec<String>,
    },
    /// The pod has no role annotation.
    #[error("the pod has no {} annotation", crate::role::ROLE)]
    NoRole,
    /// The pod's annotations name no role identity.
    #[error(transparent)]
    InvalidAnnotation(Arc<AnnotationError>),
    /// The server does not know the pod's namespace.
    #[error("the namespace {0:?} is not known yet")]
    NamespaceUnknown(Arc<str>),
    /// Policy does not let the pod have the role.
    #[error(transparent)]
    Forbidden(Denial),
    /// The agent is not, or cannot be shown to be, of the pod's node.
    #[error(transparent)]
    Binding(#[from] BindingError),
    /// STS gave no credentials.
    #[error(transparent)]
    Sts(Arc<StsError>),
}

impl Error {
    /// An error if pods and namespaces have not been listed yet.
    pub fn unless_ready(readiness: &Readiness) -> Result<(), Self> {
        let waiting_for = readiness.waiting_for();
        if waiting_for.is_empty() { Ok(()) } else { Err(Self::NotReady { waiting_for }) }
    }

    /// The reason that agents, pods and metrics see.
    pub fn reason(&self) -> Reason {
        match self {
            Self::NotReady { .. } | Self::Stopping | Self::NamespaceUnknown(_) => Reason::ServerNotReady,
            Self::BadHello(_) | Self::BadIp(_) | Self::BadSubject | Self::BadRole(_) => Reason::BadRequest,
            Self::PodNotFound(_) => Reason::PodNotFound,
            Self::PodAmbiguous { .. } => Reason::PodAmbiguous,
            Self::NoRole => Reason::NoRole,
            Self::InvalidAnnotation(_) => Reason::InvalidAnnotation,
            Self::Forbidden(_) => Reason::Forbidden,
            Self::Binding(error) => error.reason(),
            Self::Sts(error) => match error.kind {
                StsErrorKind::Refused | StsErrorKind::TooLong => Reason::StsRefused,
                StsErrorKind::Throttled | StsErrorKind::Unavailable | StsErrorKind::OwnCredentials => {
                    Reason::StsUnavailable
                }
            },
        }
    }

    /// The error code that STS gave, if it gave one.
    pub fn aws_code(&self) -> Option<&str> {
        match self {
            Self::Sts(error) => error.code.as_deref(),
            _ => None,
        }
    }
}
