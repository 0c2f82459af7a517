//! The agent's configuration: values that need no more checking. Made of the flags here, used by `app.rs`; tests
//! and the sandbox may make one as well.

use std::net::SocketAddr;

use kiam_common::args::{OpsArgs, ServerAddressArgs, TlsArgs};

use crate::args::AgentArgs;
pub use crate::http::proxy::AllowedRoutes;
pub use crate::metadata::Endpoint;

/// All that an agent is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where pods' metadata requests arrive; port 0 is any free one.
    pub listen: SocketAddr,
    /// Whether `?ip=` chooses the pod: for development only.
    pub allow_ip_query: bool,
    /// The paths that are passed on to the instance metadata service.
    pub allowed_routes: AllowedRoutes,
    /// The instance metadata service behind the agent.
    pub metadata_endpoint: Endpoint,
    /// Where the servers are.
    pub server: ServerAddressArgs,
    /// The agent's identity and whom it trusts.
    pub tls: TlsArgs,
    /// The metrics listener.
    pub ops: OpsArgs,
}

impl From<AgentArgs> for Config {
    fn from(args: AgentArgs) -> Self {
        Self {
            listen: SocketAddr::new(args.bind, args.port),
            allow_ip_query: args.allow_ip_query,
            allowed_routes: args.allow_route_regexp,
            metadata_endpoint: args.metadata_endpoint,
            server: args.server,
            tls: args.tls,
            ops: args.ops,
        }
    }
}
