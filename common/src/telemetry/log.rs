//! Log lines: their form, and which of them are written.

use clap::ValueEnum;
use tracing::dispatcher::Dispatch;
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::{self, FmtContext, FormatEvent, FormatFields, MakeWriter, format::Writer};
use tracing_subscriber::layer::{Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;

use super::{SPANS, spans};
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

/// Logs and nothing else: the spans of [`SPANS`] are turned off where they are made.
pub(super) fn subscriber<W>(args: &LogArgs, writer: W) -> Dispatch
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    Dispatch::new(tracing_subscriber::registry().with(layer(args, writer, Lines::Plain)))
}

/// What is in a line beside what is said in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lines {
    /// Nothing.
    Plain,
    /// The ids of the span that it was said in, if any.
    WithIds,
}

/// The layer that writes lines.
pub(super) fn layer<S, W>(args: &LogArgs, writer: W, lines: Lines) -> impl Layer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let layer = fmt::layer().with_writer(writer);
    let layer = if args.json_log {
        let json = layer.json().flatten_event(true).with_current_span(true).with_span_list(false);
        match lines {
            Lines::Plain => json.boxed(),
            Lines::WithIds => json.map_event_format(|format| WithIds { format, place: Place::InObject }).boxed(),
        }
    } else {
        let text = layer.with_ansi(false);
        match lines {
            Lines::Plain => text.boxed(),
            Lines::WithIds => text.map_event_format(|format| WithIds { format, place: Place::AtEnd }).boxed(),
        }
    };
    layer.with_filter(filter(args.level))
}

/// Libraries are never asked for more than what changes: what they print to be debugged may hold a secret.
fn filter(level: Level) -> Targets {
    let level = LevelFilter::from(level);
    let lines = Targets::new().with_target("kiam", level).with_default(level.min(LevelFilter::INFO));
    lines.with_target(SPANS, LevelFilter::OFF)
}

/// Adds the ids to what another format makes of an event.
struct WithIds<F> {
    format: F,
    place: Place,
}

/// Where the ids go.
#[derive(Clone, Copy)]
enum Place {
    /// Into the JSON object that the line is.
    InObject,
    /// Behind the line.
    AtEnd,
}

impl<S, N, F> FormatEvent<S, N> for WithIds<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> std::fmt::Result {
        let Some((trace_id, span_id)) = spans::current_ids() else {
            return self.format.format_event(context, out, event);
        };
        let mut line = String::new();
        self.format.format_event(context, Writer::new(&mut line), event)?;
        let line = line.trim_end_matches('\n');
        match (self.place, line.strip_suffix('}')) {
            (Place::InObject, Some(fields)) => {
                writeln!(out, r#"{fields},"trace_id":"{trace_id}","span_id":"{span_id}"}}"#)
            }
            _ => writeln!(out, "{line} trace_id={trace_id} span_id={span_id}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::tests::Written;
    use super::*;

    /// The lines that are logged while `log` runs.
    fn logged(level: Level, json_log: bool, log: impl FnOnce()) -> Vec<String> {
        let written = Written::default();
        let writer = written.clone();
        let subscriber = subscriber(&LogArgs { json_log, level }, move || writer.clone());
        tracing::dispatcher::with_default(&subscriber, log);
        written.lines()
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
