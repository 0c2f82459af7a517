//! What a program says of itself: log lines, and spans, which go to a collector by OTLP where the environment names one.
//! Called once, by each program's start.
//!
//! What always holds: without a collector no span is ever made ([`SPANS`] are turned off where they are made, once for
//! all), and with one, whether it is there or not, nothing waits for it.

mod export;
mod log;
pub mod rpc;
mod settings;
pub(crate) mod spans;

use std::io;

use tracing::dispatcher::{Dispatch, set_global_default};
use tracing_subscriber::layer::SubscriberExt as _;

pub use export::{ExportError, Exporting};
pub use log::Level;
pub use settings::SettingsError;

use crate::args::LogArgs;
use log::Lines;
use settings::Settings;

/// The target of every span that is exported; what libraries make of their own is not.
pub const SPANS: &str = "kiam_spans";

/// The longest text of a stranger's in a span, in characters.
const LONGEST: usize = 256;

/// Logs to stderr from now on, one event a line: a JSON object or text.
pub fn init(args: &LogArgs) {
    begin(&log::subscriber(args, io::stderr));
}

/// The same for a program that serves, which exports spans, too, if the environment says where to: `service` is what they
/// are called after unless it says that as well.
pub async fn start(args: &LogArgs, service: &'static str) -> Result<Exporting, ExportError> {
    let Some(settings) = Settings::read(&|name| std::env::var_os(name))? else {
        init(args);
        return Ok(Exporting::nothing());
    };
    let provider = export::provider(&settings, service).await?;
    let traced = tracing_subscriber::registry().with(spans::layer(&provider));
    begin(&Dispatch::new(traced.with(log::layer(args, io::stderr, Lines::WithIds))));
    tracing::info!(endpoint = settings.endpoint, "spans are exported");
    Ok(Exporting::by(provider))
}

fn begin(subscriber: &Dispatch) {
    // Fails only where somebody logs already, as when several programs share a test's process.
    let _already_logging = set_global_default(subscriber.clone());
}

/// As much of a stranger's text as a span may hold.
pub fn short(text: &str) -> &str {
    text.char_indices().nth(LONGEST).and_then(|(end, _)| text.get(..end)).unwrap_or(text)
}

#[cfg(test)]
mod tests;
