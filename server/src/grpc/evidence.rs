//! What an agent shows of itself with a call, as it is in the request.

use tonic::Request;

use crate::node_binding::{Evidence, Token};

/// The scheme of RFC 6750, in any case.
const BEARER: &str = "bearer ";

/// Reads it.
pub(super) fn evidence<M>(request: &Request<M>) -> Evidence<'_> {
    let text = |name| request.metadata().get(name).and_then(|value| value.to_str().ok());
    Evidence {
        token: text("authorization").and_then(bearer).map(Token),
        address: request.remote_addr().map(|address| address.ip()),
        program: text("user-agent").unwrap_or_default(),
    }
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_at_checked(BEARER.len())?;
    scheme.eq_ignore_ascii_case(BEARER).then(|| token.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_what_follows_the_scheme() {
        let token = |value: &str| {
            let mut request = Request::new(());
            request.metadata_mut().insert("authorization", value.parse().unwrap());
            evidence(&request).token.map(|token| token.0.to_owned())
        };
        assert_eq!(token("Bearer a.b.c").as_deref(), Some("a.b.c"));
        assert_eq!(token("bearer  a.b.c").as_deref(), Some("a.b.c"));
        for other in ["a.b.c", "Basic a.b.c", "Bearer", ""] {
            assert_eq!(token(other), None, "{other}");
        }
        assert!(evidence(&Request::new(())).token.is_none());
    }

    #[test]
    fn nothing_shows_the_token() {
        let mut request = Request::new(());
        request.metadata_mut().insert("authorization", "Bearer hidden-value".parse().unwrap());
        let shown = format!("{:?}", evidence(&request));
        assert!(shown.contains("redacted") && !shown.contains("hidden-value"), "{shown}");
    }
}
