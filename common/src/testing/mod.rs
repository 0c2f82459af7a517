//! What tests of any crate need to run real connections on loopback. Feature `testing`; no program links it.

mod log;
pub mod metrics;
mod pki;
mod scrapers;
mod server;
mod spans;

pub use log::CapturedLog;
pub use pki::Pki;
pub use scrapers::NamedScrapers;
pub use server::serve_health;
pub use spans::{CapturedSpans, EndedSpan};
