//! What the command line says: how large the cluster is, and which of the two processes this is.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// How large the cluster is.
#[derive(Clone, Debug, Parser)]
pub(crate) struct Size {
    #[arg(long, default_value = "5000")]
    pub(crate) nodes: u32,
    #[arg(long, default_value = "150000")]
    pub(crate) pods: u32,
    #[arg(long, default_value = "1000")]
    pub(crate) roles: u32,
    /// Pods whose annotation changes each second.
    #[arg(long, default_value = "200")]
    pub(crate) changes: u32,
    /// For how long they change.
    #[arg(long, default_value = "60")]
    pub(crate) seconds: u32,
    /// Streams on each connection.
    #[arg(long, default_value = "100")]
    pub(crate) streams: u32,
    /// Cargo says so.
    #[arg(long, hide = true)]
    bench: bool,
    #[command(subcommand)]
    pub(crate) part: Option<Part>,
}

/// The other process.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Part {
    /// All agents.
    Agents { server: std::net::SocketAddr, cert: PathBuf, key: PathBuf, ca: PathBuf },
}
