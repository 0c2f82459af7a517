//! What an agent shows of itself with a call, as it is in the request.

use kiam_common::bearer;
use tonic::Request;

use crate::node_binding::{Evidence, Token};

/// Reads it.
pub(super) fn evidence<M>(request: &Request<M>) -> Evidence<'_> {
    let text = |name| request.metadata().get(name).and_then(|value| value.to_str().ok());
    Evidence {
        token: text("authorization").and_then(bearer::token).map(Token),
        address: request.remote_addr().map(|address| address.ip()),
        program: text("user-agent").unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_shows_the_token() {
        let mut request = Request::new(());
        request.metadata_mut().insert("authorization", "Bearer hidden-value".parse().unwrap());
        let shown = format!("{:?}", evidence(&request));
        assert!(shown.contains("redacted") && !shown.contains("hidden-value"), "{shown}");
    }
}
