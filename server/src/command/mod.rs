//! What `kiam-server` does beside serving. Each command does one thing, prints what came of it, and ends: with 0 when all
//! is well, 1 when not, and 2 for a command line that cannot be understood.

mod ask;
mod certs;
mod explain;
mod install;
mod preflight;
mod status;

use std::process::ExitCode;

use clap::Subcommand;

/// A command and its flags.
#[derive(Clone, Debug, Subcommand)]
pub enum ServerCommand {
    /// Asks the servers why a pod gets credentials, or not; ends with 0 if it gets them
    Explain(Box<explain::ExplainArgs>),
    /// Asks the servers which nodes they supply, and shows them
    Status(Box<status::StatusArgs>),
    /// Makes certificates
    #[command(subcommand)]
    Certs(certs::CertsCommand),
    /// Prints manifests for kubectl apply -f -
    #[command(subcommand)]
    Install(install::InstallCommand),
    /// Reads a cluster, and lists what will behave differently from Kiam; ends with 0 if nothing will
    Preflight(Box<preflight::PreflightArgs>),
}

impl ServerCommand {
    /// Does it.
    pub async fn run(self) -> ExitCode {
        match self {
            Self::Explain(args) => explain::run(*args).await,
            Self::Status(args) => status::run(*args).await,
            Self::Certs(certs::CertsCommand::Generate(args)) => certs::run(&args),
            Self::Install(install::InstallCommand::Metrics(args)) => install::run(&args),
            Self::Preflight(args) => preflight::run(*args).await,
        }
    }
}
