//! Logs: where they go and in what form. Called once, by each program's start.

use std::io;

use clap::ValueEnum;
use tracing::level_filters::LevelFilter;

use crate::args::LogArgs;

/// How grave a thing must be to be logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Level {
    /// Each request, and what the libraries have to say.
    Debug,
    /// What changes: starts, stops, reloads, refusals.
    Info,
    /// What somebody should look at.
    Warn,
    /// What does not work.
    Error,
}

impl From<Level> for LevelFilter {
    fn from(level: Level) -> Self {
        match level {
            Level::Debug => Self::DEBUG,
            Level::Info => Self::INFO,
            Level::Warn => Self::WARN,
            Level::Error => Self::ERROR,
        }
    }
}

/// Logs to stderr from now on, one event a line. A program that logs already goes on as it does.
pub fn init(args: &LogArgs) {
    let builder = tracing_subscriber::fmt().with_max_level(LevelFilter::from(args.level)).with_writer(io::stderr);
    // Fails only where a subscriber is installed already, as when several programs share a test's process.
    let _already_logging = if args.json_log {
        builder.json().flatten_event(true).with_current_span(true).with_span_list(false).try_init()
    } else {
        builder.with_ansi(false).try_init()
    };
}
