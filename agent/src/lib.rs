//! The node agent: answers the AWS credential requests that pods make to the instance metadata address, asking the
//! servers for each. `app.rs` says what exists here; a request runs `http` → `unary` → `sync` → a server.

pub mod app;
mod args;
pub mod config;
mod error;
mod http;
mod intercept;
mod metadata;
mod metrics;
mod sync;
mod unary;

#[cfg(test)]
mod tests;

pub use error::StartError;
pub use intercept::Error as InterceptionError;
