//! The sandbox: all of kiam-rs on one machine, for a person to watch and to play with, or, with `--once`, to check
//! itself and end.

mod args;
mod fleet;
mod guide;
mod kubelet;
mod manifests;
mod screen;
mod sdk;
mod table;
mod tour;
mod world;

use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use kiam_common::shutdown::Shutdown;
use tokio::time::MissedTickBehavior;

use crate::stack::StackError;
use args::Args;
use fleet::Fleet;
use screen::Screen;
use world::World;

/// How often the table is drawn and `pods.yaml` looked at.
const TICK: Duration = Duration::from_millis(500);

/// Why the sandbox does not run.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The emulators or the programs do not run.
    #[error(transparent)]
    Stack(#[from] StackError),
    /// The file with the pods is no use.
    #[error("--pods: {0}")]
    Pods(String),
    /// The environment keeps every SDK from asking for metadata, those of the sandbox's pods too.
    #[error("AWS_EC2_METADATA_DISABLED is set, so that no AWS SDK asks for credentials here; unset it")]
    MetadataDisabled,
    /// The terminal or a signal is not to be had.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// The whole program: reads the command line and runs until Ctrl-C, or until the tour is over.
pub fn run() -> ExitCode {
    let args = Args::parse();
    kiam_common::tls::install_crypto_provider();
    let runtime = tokio::runtime::Runtime::new().map_err(SandboxError::Io);
    runtime.and_then(|runtime| runtime.block_on(run_until_told(&args))).unwrap_or_else(|error| {
        eprintln!("kiam-sandbox: {error}");
        ExitCode::FAILURE
    })
}

async fn run_until_told(args: &Args) -> Result<ExitCode, SandboxError> {
    if std::env::var_os("AWS_EC2_METADATA_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return Err(SandboxError::MetadataDisabled);
    }
    let shutdown = Shutdown::new();
    let mut told = pin!(shutdown.begin_on_signal());
    // Dropping all of it ends all of it.
    let mut world = tokio::select! {
        world = World::start(args) => world?,
        told = &mut told => return Ok(told.map(|()| ExitCode::FAILURE)?),
    };
    if args.once {
        return tokio::select! {
            passed = tour::take(&mut world) => Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }),
            told = &mut told => Ok(told.map(|()| ExitCode::FAILURE)?),
        };
    }
    tokio::select! {
        () = show(&mut world, args) => {}
        told = &mut told => told?,
    }
    println!("\nstopping");
    world.stack.stop().await?;
    Ok(ExitCode::SUCCESS)
}

/// Shows the pods, for as long as it is polled.
async fn show(world: &mut World, args: &Args) {
    let mut fleet = Fleet::new(args.every);
    let mut screen = Screen::new();
    fleet.follow(&world.stack).await;
    println!("{}", guide::text(world, &fleet));
    let mut changes = world.stack.kube.changes();
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = changes.changed() => {}
            _ = ticks.tick() => world.follow_manifests(),
        }
        world.settle();
        fleet.follow(&world.stack).await;
        screen.show(&fleet.rows(), world.complaint());
    }
}
