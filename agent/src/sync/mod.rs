//! The agent's connections to the servers: `stream` supplies the ledger through them, `unary` asks through them.

pub(crate) mod claims;
pub(crate) mod decode;
pub(crate) mod endpoint;
pub(crate) mod endpoints;
#[cfg(test)]
pub(crate) mod fake;
pub(crate) mod metrics;
pub(crate) mod resolver;
pub(crate) mod status;
pub(crate) mod stream;
pub(crate) mod token;
