//! Who is an operator, and so sees every node, and who is another server: told by the client's certificate, which chains to
//! `--ca`.

use std::sync::Arc;

use kiam_common::tls::{Identity, has_name, is_for};
use tonic::Request;

/// The DNS name in operators' certificates.
const NAME: &str = "kiam-operator";

/// Knows operators and other servers.
#[derive(Clone, Debug, Default)]
pub struct Operators {
    own: Option<Arc<Identity>>,
    servers: Vec<String>,
}

impl Operators {
    /// Those whose certificates say so, and whoever has this program's own: people in the server's container. Other servers
    /// are at the hosts `servers`.
    pub fn beside(own: Arc<Identity>, servers: Vec<String>) -> Self {
        Self { own: Some(own), servers }
    }

    /// Whether the caller is another server: its certificate is good for a host where this one asks others. Whoever has such
    /// a certificate could pass for a server to every agent; that it lists nodes, too, gives nothing away.
    pub(super) fn include_as_server<M>(&self, request: &Request<M>) -> bool {
        let chain = request.peer_certs();
        let Some(certificate) = chain.as_ref().and_then(|chain| chain.first()) else { return false };
        self.servers.iter().any(|host| is_for(certificate, host))
    }

    /// Whether the caller is one.
    pub(super) fn include<M>(&self, request: &Request<M>) -> bool {
        let chain = request.peer_certs();
        let Some(certificate) = chain.as_ref().and_then(|chain| chain.first()) else { return false };
        has_name(certificate, NAME) || self.own.as_ref().is_some_and(|own| own.is_own(certificate))
    }
}
