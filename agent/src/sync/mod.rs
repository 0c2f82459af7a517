//! The agent's connections to the servers. `unary` asks through them.

pub(crate) mod endpoint;
pub(crate) mod endpoints;
pub(crate) mod resolver;
