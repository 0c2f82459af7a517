//! Logs: where they go and in what form. Called once, by each program's start.

use std::io;

use clap::ValueEnum;
use tracing::dispatcher::{Dispatch, set_global_default};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::registry;

use crate::args::LogArgs;

/// How grave a thing must be to be logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Level {
    /// Each request.
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

/// Logs to stderr from now on, one event a line: a JSON object or text.
pub fn init(args: &LogArgs) {
    // Fails only where somebody logs already, as when several programs share a test's process.
    let _already_logging = set_global_default(subscriber(args, io::stderr));
}

fn subscriber<W>(args: &LogArgs, writer: W) -> Dispatch
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let layer = fmt::layer().with_writer(writer);
    let layer = if args.json_log {
        layer.json().flatten_event(true).with_current_span(true).with_span_list(false).boxed()
    } else {
        layer.with_ansi(false).boxed()
    };
    Dispatch::new(registry().with(layer.with_filter(filter(args.level))))
}

/// Libraries are never asked for more than what changes: what they print to be debugged may hold a secret.
fn filter(level: Level) -> Targets {
    let level = LevelFilter::from(level);
    Targets::new().with_target("kiam", level).with_default(level.min(LevelFilter::INFO))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use serde_json::Value;

    use super::*;

    /// Keeps what is written.
    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The lines that are logged while `log` runs.
    fn logged(level: Level, json_log: bool, log: impl FnOnce()) -> Vec<String> {
        let written = Written::default();
        let writer = written.clone();
        let subscriber = subscriber(&LogArgs { json_log, level }, move || writer.clone());
        tracing::dispatcher::with_default(&subscriber, log);
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn json_is_one_object_a_line_with_its_fields() {
        let lines = logged(Level::Info, true, || {
            tracing::info!(pod = "reader\nx", status = 200, "answered");
            tracing::warn!("late");
        });
        let lines: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(
            (&lines[0]["pod"], &lines[0]["status"], &lines[0]["message"]),
            (&"reader\nx".into(), &200.into(), &"answered".into())
        );
        assert_eq!((&lines[1]["level"], &lines[1]["message"]), (&"WARN".into(), &"late".into()));
    }

    #[test]
    fn text_is_one_line_an_event_whatever_is_in_it() {
        let lines = logged(Level::Info, false, || tracing::info!(pod = "a\nb\x1b[31m", "answered"));
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains("INFO") && lines[0].contains("answered") && !lines[0].contains('\x1b'), "{lines:?}");
    }

    #[test]
    fn each_level_has_its_own_and_all_graver_ones() {
        for (level, expected) in [(Level::Debug, 4), (Level::Info, 3), (Level::Warn, 2), (Level::Error, 1)] {
            let lines = logged(level, false, || {
                tracing::trace!("t");
                tracing::debug!("d");
                tracing::info!("i");
                tracing::warn!("w");
                tracing::error!("e");
            });
            assert_eq!(lines.len(), expected, "{level:?}");
        }
    }

    #[test]
    fn libraries_do_not_debug_themselves_into_our_logs() {
        let lines = logged(Level::Debug, false, || {
            tracing::debug!(target: "h2::codec", "token=secret");
            tracing::info!(target: "h2::codec", "told");
        });
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains("told"));
    }
}
