//! AWS's query protocol: a form in the body, the signature in a header.

use std::collections::BTreeMap;

use http::header::AUTHORIZATION;
use http::request::Parts;

/// One request's parameters and the key that signed it.
#[derive(Debug)]
pub(super) struct Query {
    /// The access key id in the signature's credential scope; empty for an unsigned request.
    pub(super) caller_access_key: String,
    parameters: BTreeMap<String, String>,
}

impl Query {
    /// Reads the form of the body, and of the query string where the body is empty.
    pub(super) fn read(parts: &Parts, body: &[u8]) -> Self {
        let form = if body.is_empty() { parts.uri.query().unwrap_or_default().as_bytes() } else { body };
        Self {
            caller_access_key: signer(parts).unwrap_or_default().into(),
            parameters: form_urlencoded::parse(form).into_owned().collect(),
        }
    }

    /// A parameter's value.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).map(String::as_str)
    }
}

/// `AWS4-HMAC-SHA256 Credential=AKIA…/20261121/eu-west-1/sts/aws4_request, …`
fn signer(parts: &Parts) -> Option<&str> {
    let header = parts.headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (_, scope) = header.split_once("Credential=")?;
    Some(scope.split_once('/')?.0)
}
