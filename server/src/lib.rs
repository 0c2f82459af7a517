//! The kiam-rs server: watches pods and namespaces, decides who may have which AWS role, gets credentials from STS, and
//! answers the agents over gRPC. `ARCHITECTURE.md` shows how the parts hang together; [`app`] builds them all.

pub mod app;
pub mod args;
pub mod command;
pub mod config;
pub mod desk;
pub mod directory;
pub mod error;
pub mod events;
pub mod explain;
#[cfg(test)]
mod fixtures;
pub mod fleet_metrics;
pub mod grpc;
pub mod issue;
mod jitter;
pub mod metrics;
pub mod node_binding;
pub mod peers;
mod pending;
pub mod policy;
pub mod role;
pub mod scrapers;
pub mod startup_taint;
pub mod sts;
mod token_review;
pub mod vault;
