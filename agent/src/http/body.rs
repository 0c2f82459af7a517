//! Answers of bytes at hand, which all of the agent's are.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;

/// The body of an answer.
pub(crate) type Body = Full<Bytes>;

/// `Content-Type` of lists and names.
pub(crate) const TEXT: HeaderValue = HeaderValue::from_static("text/plain");
/// `Content-Type` of documents and errors.
pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// An answer.
pub(crate) fn response(status: StatusCode, content_type: HeaderValue, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}
