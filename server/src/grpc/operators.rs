//! Who is an operator, and so sees every node: told by the client's certificate, which chains to `--ca`.

use std::sync::Arc;

use kiam_common::tls::{Identity, has_name};
use tonic::Request;

/// The DNS name in operators' certificates.
const NAME: &str = "kiam-operator";

/// Knows operators.
#[derive(Clone, Debug, Default)]
pub struct Operators {
    own: Option<Arc<Identity>>,
}

impl Operators {
    /// Those whose certificates say so, and whoever has this program's own: people in the server's container.
    pub fn beside(own: Arc<Identity>) -> Self {
        Self { own: Some(own) }
    }

    /// Whether the caller is one.
    pub(super) fn include<M>(&self, request: &Request<M>) -> bool {
        let chain = request.peer_certs();
        let Some(certificate) = chain.as_ref().and_then(|chain| chain.first()) else { return false };
        has_name(certificate, NAME) || self.own.as_ref().is_some_and(|own| own.is_own(certificate))
    }
}
