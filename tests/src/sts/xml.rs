//! The XML that STS writes: answers and errors.

use http::StatusCode;

use super::accounts::Issued;
use kiam_common::credentials::format_timestamp;

const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";
const REQUEST_ID: &str = "c6104cbe-af31-11e0-8154-cbc7ccf896c7";

/// An error as STS answers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: StatusCode,
    /// The error code: `AccessDenied`, `ValidationError`, …
    pub code: &'static str,
    /// The text for people.
    pub message: String,
}

impl Refusal {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    /// The caller may not assume the role, or the role does not exist: STS tells nobody which.
    pub fn access_denied(caller: &str, role_arn: &str) -> Self {
        let message = format!("User: {caller} is not authorized to perform: sts:AssumeRole on resource: {role_arn}");
        Self::new(StatusCode::FORBIDDEN, "AccessDenied", message)
    }

    /// A parameter breaks a rule.
    pub fn validation(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "ValidationError", message)
    }

    /// Too many calls: STS says so with status 400.
    pub fn throttling() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "Throttling", "Rate exceeded")
    }

    /// STS itself is in trouble, with a status of 500 or above.
    pub fn server_error(status: StatusCode) -> Self {
        let code = if status == StatusCode::SERVICE_UNAVAILABLE { "ServiceUnavailable" } else { "InternalFailure" };
        Self::new(status, code, "The request processing has failed because of an unknown error")
    }

    /// The caller's own credentials are over.
    pub fn expired_token() -> Self {
        Self::new(StatusCode::FORBIDDEN, "ExpiredToken", "The security token included in the request is expired")
    }

    /// Nobody has the key that signed the request.
    pub fn unknown_caller() -> Self {
        let message = "The security token included in the request is invalid.";
        Self::new(StatusCode::FORBIDDEN, "InvalidClientTokenId", message)
    }

    /// The request is not signed.
    pub fn unsigned() -> Self {
        Self::new(StatusCode::FORBIDDEN, "MissingAuthenticationToken", "Request is missing Authentication Token")
    }

    /// STS has no such action, or this emulator has not.
    pub fn invalid_action(action: &str) -> Self {
        let message = format!("Could not find operation {action} for version 2011-06-15");
        Self::new(StatusCode::BAD_REQUEST, "InvalidAction", message)
    }

    pub(super) fn to_xml(&self) -> String {
        let fault = if self.status.is_server_error() { "Receiver" } else { "Sender" };
        format!(
            "<ErrorResponse xmlns=\"{NAMESPACE}\">\n  <Error>\n    <Type>{fault}</Type>\n    <Code>{}</Code>\n    \
             <Message>{}</Message>\n  </Error>\n  <RequestId>{REQUEST_ID}</RequestId>\n</ErrorResponse>\n",
            self.code,
            escaped(&self.message)
        )
    }
}

pub(super) fn assume_role(issued: &Issued) -> String {
    format!(
        "<AssumeRoleResponse xmlns=\"{NAMESPACE}\">\n  <AssumeRoleResult>\n    <AssumedRoleUser>\n      \
         <AssumedRoleId>{}</AssumedRoleId>\n      <Arn>{}</Arn>\n    </AssumedRoleUser>\n    <Credentials>\n      \
         <AccessKeyId>{}</AccessKeyId>\n      <SecretAccessKey>{}</SecretAccessKey>\n      \
         <SessionToken>{}</SessionToken>\n      <Expiration>{}</Expiration>\n    </Credentials>\n  \
         </AssumeRoleResult>\n  <ResponseMetadata>\n    <RequestId>{REQUEST_ID}</RequestId>\n  \
         </ResponseMetadata>\n</AssumeRoleResponse>\n",
        escaped(&issued.user_id),
        escaped(&issued.arn),
        issued.access_key_id,
        issued.secret_access_key,
        issued.session_token,
        format_timestamp(issued.expiration),
    )
}

pub(super) fn get_caller_identity(arn: &str, user_id: &str, account: &str) -> String {
    format!(
        "<GetCallerIdentityResponse xmlns=\"{NAMESPACE}\">\n  <GetCallerIdentityResult>\n    <Arn>{}</Arn>\n    \
         <UserId>{}</UserId>\n    <Account>{account}</Account>\n  </GetCallerIdentityResult>\n  <ResponseMetadata>\n    \
         <RequestId>{REQUEST_ID}</RequestId>\n  </ResponseMetadata>\n</GetCallerIdentityResponse>\n",
        escaped(arn),
        escaped(user_id),
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
