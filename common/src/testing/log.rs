//! What the code under test logs, kept to be searched.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::subscriber::{DefaultGuard, NoSubscriber};
use tracing::{Dispatch, Subscriber};
use tracing_subscriber::filter::LevelFilter;

/// Everything that is logged on this thread, at every level, for as long as it lives.
pub struct CapturedLog {
    written: Written,
    _capture: Capture,
}

impl CapturedLog {
    /// Begins to keep what is logged.
    pub fn start() -> Self {
        let written = Written::default();
        let writer = written.clone();
        let subscriber =
            tracing_subscriber::fmt().with_max_level(LevelFilter::TRACE).with_writer(move || writer.clone()).finish();
        Self { written, _capture: Capture::start(subscriber) }
    }

    /// What was logged so far.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.written.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

/// A subscriber to all that this thread tells, for as long as it lives.
pub(super) struct Capture {
    _capturing: DefaultGuard,
    _second: Dispatch,
}

impl Capture {
    pub(super) fn start(subscriber: impl Subscriber + Send + Sync + 'static) -> Self {
        // With one subscriber alone, tracing asks the thread that comes to a line first whether anybody wants it, and
        // that may be another test's, which keeps nothing. With two it asks both.
        let second = Dispatch::new(NoSubscriber::new());
        Self { _capturing: tracing::subscriber::set_default(subscriber), _second: second }
    }
}

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
