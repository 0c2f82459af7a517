//! The one place where an [`Error`] becomes an answer to a pod: status, headers, and the JSON body
//! `{"Code": …, "Message": …}`.

use http::{HeaderValue, Response, StatusCode, header};
use kiam_common::reason::Reason;
use serde::Serialize;

use super::body::{self, Body};
use crate::error::Error;

/// How long a pod should wait before it asks again, in seconds.
const RETRY_AFTER: &str = "1";

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Document<'e> {
    code: &'e str,
    message: String,
}

/// The answer that tells a pod of `error`.
pub(crate) fn response(error: &Error) -> Response<Body> {
    let mut response = body::response(status(error), body::JSON, document(error));
    if matches!(status(error), StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER));
    }
    if let Error::MethodNotAllowed { allow } = error {
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
    }
    response
}

/// The same for a connection that is closed without its request being read: the bytes to send. Only for errors that
/// pass with time.
pub(crate) fn whole_answer(error: &Error) -> Vec<u8> {
    let (status, document) = (status(error), document(error));
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\nretry-after: {RETRY_AFTER}\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n",
        document.len()
    );
    [head.into_bytes(), document].concat()
}

fn document(error: &Error) -> Vec<u8> {
    serde_json::to_vec(&Document { code: code(error), message: error.to_string() }).unwrap_or_default()
}

/// The status. SDKs fall back to tokenless requests at 403, 404 and 405 to a token request, give up at 400, and
/// get a new token at 401.
pub(crate) fn status(error: &Error) -> StatusCode {
    match error {
        Error::Malformed(_) | Error::TokenTtl | Error::IpQuery => StatusCode::BAD_REQUEST,
        Error::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
        Error::Forwarded | Error::VersionedToken => StatusCode::FORBIDDEN,
        Error::TokenMissing | Error::Token => StatusCode::UNAUTHORIZED,
        Error::NodeIdentity | Error::NotAllowed => StatusCode::NOT_FOUND,
        Error::TooManyConnections | Error::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
        Error::Refused(refusal) => refused(refusal.reason),
        Error::IncompleteCredentials(_) => StatusCode::INTERNAL_SERVER_ERROR,
        Error::Busy | Error::ServerUnwell(_) => StatusCode::SERVICE_UNAVAILABLE,
        Error::MetadataUnreachable | Error::MetadataStatus(_) => StatusCode::BAD_GATEWAY,
        Error::MetadataTimeout => StatusCode::GATEWAY_TIMEOUT,
    }
}

fn refused(reason: Reason) -> StatusCode {
    match reason {
        Reason::NoRole | Reason::PodNotFound => StatusCode::NOT_FOUND,
        Reason::Forbidden | Reason::InvalidAnnotation | Reason::WrongNode => StatusCode::FORBIDDEN,
        Reason::PodAmbiguous => StatusCode::CONFLICT,
        Reason::StsRefused => StatusCode::BAD_GATEWAY,
        Reason::AgentRefused
        | Reason::StsUnavailable
        | Reason::ServerNotReady
        | Reason::ServerUnreachable
        | Reason::Stale
        | Reason::Unconfirmed => StatusCode::SERVICE_UNAVAILABLE,
        Reason::BadRequest => StatusCode::BAD_REQUEST,
        Reason::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The machine-readable name of what went wrong: in the body, and as the label of the refusal's metric.
pub(crate) fn code(error: &Error) -> &'static str {
    match error {
        Error::Malformed(_) | Error::TokenTtl | Error::IpQuery => "BadRequest",
        Error::MethodNotAllowed { .. } => "MethodNotAllowed",
        Error::Forwarded | Error::VersionedToken => "TokenForbidden",
        Error::TokenMissing | Error::Token => "Unauthorized",
        Error::NodeIdentity | Error::NotAllowed => "NotFound",
        Error::Refused(refusal) => refusal.reason.as_str(),
        Error::IncompleteCredentials(_) => "Internal",
        Error::TooManyConnections => "TooManyConnections",
        Error::TooManyRequests => "TooManyRequests",
        Error::Busy => "Busy",
        Error::ServerUnwell(_) => "ServerUnwell",
        Error::MetadataUnreachable | Error::MetadataStatus(_) => "MetadataUnavailable",
        Error::MetadataTimeout => "MetadataTimeout",
    }
}

/// Every code that is not a [`Reason`]'s, for metrics that show each from the start.
pub(crate) const OWN_CODES: [&str; 10] = [
    "MethodNotAllowed",
    "TokenForbidden",
    "Unauthorized",
    "NotFound",
    "TooManyConnections",
    "TooManyRequests",
    "Busy",
    "ServerUnwell",
    "MetadataUnavailable",
    "MetadataTimeout",
];

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use kiam_common::reason::Refusal;

    use super::*;

    fn refusal(reason: Reason) -> Error {
        Error::Refused(Refusal { reason, message: "why".into(), aws_code: None })
    }

    #[test]
    fn each_reason_has_the_status_that_readme_promises() {
        for (reason, wanted) in [
            (Reason::NoRole, 404),
            (Reason::PodNotFound, 404),
            (Reason::Forbidden, 403),
            (Reason::InvalidAnnotation, 403),
            (Reason::WrongNode, 403),
            (Reason::AgentRefused, 503),
            (Reason::PodAmbiguous, 409),
            (Reason::StsRefused, 502),
            (Reason::StsUnavailable, 503),
            (Reason::ServerNotReady, 503),
            (Reason::ServerUnreachable, 503),
            (Reason::Stale, 503),
            (Reason::Unconfirmed, 503),
            (Reason::BadRequest, 400),
            (Reason::Internal, 500),
        ] {
            assert_eq!(status(&refusal(reason)).as_u16(), wanted, "{reason:?}");
        }
    }

    #[tokio::test]
    async fn an_answer_is_json_with_code_and_message() {
        let answer = response(&refusal(Reason::NoRole));
        assert_eq!(answer.headers()["content-type"], "application/json");
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, r#"{"Code":"NoRole","Message":"why"}"#);
    }

    #[test]
    fn the_code_of_sts_is_told_once() {
        let told = |message: &str| {
            let (reason, aws_code) = (Reason::StsRefused, Some("AccessDenied".to_owned()));
            Error::Refused(Refusal { reason, message: message.into(), aws_code }).to_string()
        };
        assert_eq!(told("not authorized"), "AccessDenied: not authorized");
        assert_eq!(told("AccessDenied: not authorized"), "AccessDenied: not authorized");
    }

    #[test]
    fn a_pod_is_told_when_to_ask_again_and_how() {
        assert_eq!(response(&refusal(Reason::ServerUnreachable)).headers()["retry-after"], RETRY_AFTER);
        for limit in [Error::TooManyConnections, Error::TooManyRequests, Error::Busy] {
            assert_eq!(response(&limit).headers()["retry-after"], RETRY_AFTER);
        }
        assert_eq!(response(&Error::MethodNotAllowed { allow: "PUT" }).headers()["allow"], "PUT");
    }
}
