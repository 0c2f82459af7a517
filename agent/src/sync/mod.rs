//! The agent's connections to the servers. `unary` asks through them.

pub(crate) mod endpoint;
pub(crate) mod endpoints;
#[cfg(test)]
pub(crate) mod fake;
pub(crate) mod resolver;
pub(crate) mod token;
