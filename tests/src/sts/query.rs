//! AWS's query protocol: a form in the body, the signature in a header.

use std::collections::BTreeMap;

use http::header::AUTHORIZATION;
use http::request::Parts;

/// One request's parameters and what its signature says.
#[derive(Debug)]
pub(super) struct Query {
    /// The access key id in the signature's credential scope; empty for an unsigned request.
    pub(super) caller_access_key: String,
    /// The region in the signature's credential scope; empty for an unsigned request.
    pub(super) region: String,
    parameters: BTreeMap<String, String>,
}

impl Query {
    /// Reads the form of the body, and of the query string where the body is empty.
    pub(super) fn read(parts: &Parts, body: &[u8]) -> Self {
        let form = if body.is_empty() { parts.uri.query().unwrap_or_default().as_bytes() } else { body };
        let (caller_access_key, region) = scope(parts).unwrap_or_default();
        Self {
            caller_access_key: caller_access_key.into(),
            region: region.into(),
            parameters: form_urlencoded::parse(form).into_owned().collect(),
        }
    }

    /// A parameter's value.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).map(String::as_str)
    }
}

/// The key and the region of `AWS4-HMAC-SHA256 Credential=AKIA…/20261121/eu-west-1/sts/aws4_request, …`
fn scope(parts: &Parts) -> Option<(&str, &str)> {
    let header = parts.headers.get(AUTHORIZATION)?.to_str().ok()?;
    let mut scope = header.split_once("Credential=")?.1.split('/');
    Some((scope.next()?, scope.nth(1)?))
}
