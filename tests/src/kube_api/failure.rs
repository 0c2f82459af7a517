//! What the API refuses, as the `Status` object that clients know.

use http::StatusCode;
use serde_json::{Value, json};

use super::kind::Kind;

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// No such object.
    NotFound(&'static Kind, String),
    /// No such path.
    NoRoute,
    /// The path does not take this method.
    Method,
    /// The name is taken.
    AlreadyExists(&'static Kind, String),
    /// Somebody else has changed the object since the caller read it.
    Conflict(&'static Kind, String, String),
    /// What the caller wants to go on from is no longer kept.
    Expired(String),
    /// The request cannot be understood.
    BadRequest(String),
    /// The object breaks a rule.
    Invalid(&'static Kind, String, String),
    /// The body is of a type that is not spoken here.
    MediaType(String),
}

impl Failure {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::NotFound(..) | Self::NoRoute => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::AlreadyExists(..) | Self::Conflict(..) => StatusCode::CONFLICT,
            Self::Expired(_) => StatusCode::GONE,
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::Invalid(..) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::MediaType(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::NotFound(..) | Self::NoRoute => "NotFound",
            Self::Method => "MethodNotAllowed",
            Self::AlreadyExists(..) => "AlreadyExists",
            Self::Conflict(..) => "Conflict",
            Self::Expired(_) => "Expired",
            Self::BadRequest(_) => "BadRequest",
            Self::Invalid(..) => "Invalid",
            Self::MediaType(_) => "UnsupportedMediaType",
        }
    }

    fn message(&self) -> String {
        match self {
            Self::NotFound(kind, name) => format!("{} {name:?} not found", kind.plural),
            Self::NoRoute => "the server could not find the requested resource".into(),
            Self::Method => "the server does not allow this method on the requested resource".into(),
            Self::AlreadyExists(kind, name) => format!("{} {name:?} already exists", kind.plural),
            Self::Conflict(kind, name, why) => {
                format!("Operation cannot be fulfilled on {} {name:?}: {why}", kind.plural)
            }
            Self::Invalid(kind, name, why) => format!("{} {name:?} is invalid: {why}", kind.name),
            Self::Expired(message) | Self::BadRequest(message) => message.clone(),
            Self::MediaType(given) => format!("the body of the request was in an unknown format: {given:?}"),
        }
    }

    /// The `Status` object.
    pub(super) fn to_object(&self) -> Value {
        let details = match self {
            Self::NotFound(kind, name)
            | Self::AlreadyExists(kind, name)
            | Self::Conflict(kind, name, _)
            | Self::Invalid(kind, name, _) => json!({"kind": kind.plural, "name": name}),
            _ => json!({}),
        };
        json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message(),
            "reason": self.reason(),
            "details": details,
            "code": self.status().as_u16(),
        })
    }
}
