//! The node agent: answers the AWS credential requests that pods make to the instance metadata address, from the ledger
//! that a server supplies. `app.rs` says what exists here; a request runs `http` → `ledger`, and `http` → `unary` →
//! `sync` → a server when the ledger does not know.

pub mod app;
mod args;
pub mod config;
mod descriptors;
mod doctor;
mod document;
mod error;
mod exposition;
mod http;
mod intercept;
mod ledger;
mod metadata;
mod metrics;
mod netlink;
mod network;
mod operators;
mod scrapers;
mod sync;
#[cfg(feature = "testing")]
pub mod testing;
mod unary;
mod zone;

#[cfg(test)]
mod tests;

pub use error::StartError;
pub use intercept::Error as InterceptionError;
