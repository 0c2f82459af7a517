//! What the code under test logs, kept to be searched.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::Dispatch;
use tracing::subscriber::{DefaultGuard, NoSubscriber};
use tracing_subscriber::filter::LevelFilter;

/// Everything that is logged on this thread, at every level, for as long as it lives.
pub struct CapturedLog {
    written: Written,
    _capturing: DefaultGuard,
    _second: Dispatch,
}

impl CapturedLog {
    /// Begins to keep what is logged.
    pub fn start() -> Self {
        // With one subscriber alone, tracing asks the thread that comes to a line first whether anybody wants it, and
        // that may be another test's, which keeps nothing. With two it asks both.
        let second = Dispatch::new(NoSubscriber::new());
        let written = Written::default();
        let writer = written.clone();
        let subscriber =
            tracing_subscriber::fmt().with_max_level(LevelFilter::TRACE).with_writer(move || writer.clone()).finish();
        Self { written, _capturing: tracing::subscriber::set_default(subscriber), _second: second }
    }

    /// What was logged so far.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.written.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
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
