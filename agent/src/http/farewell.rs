//! The last word to a connection that is not served: why, and when to come again. Said by `listener.rs`.
//!
//! What must always hold: whoever is turned away costs next to nothing, and only so many at a time cost anything.

use std::sync::Arc;
use std::time::Duration;

use rustix::net::{SendFlags, Shutdown, send, shutdown};
use tokio::io::{AsyncReadExt as _, copy, sink};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::error;
use crate::error::Error;

/// How many are seen off at a time. Beyond that a connection is closed while its request may still be on its way, and
/// then it may not get the answer.
const AT_A_TIME: usize = 16;
/// How long one is seen off.
const WITHIN: Duration = Duration::from_secs(1);
/// How much of its request is taken meanwhile, in bytes.
const TAKEN: u64 = 16 * 1024;

/// Sees connections off.
pub(super) struct Farewells(Arc<Semaphore>);

impl Default for Farewells {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(AT_A_TIME)))
    }
}

impl Farewells {
    /// Answers with `error` and closes.
    pub(super) fn say(&self, stream: TcpStream, error: &Error) {
        // A new connection's send buffer takes it whole. Whether the other side is still there does not matter.
        let _sent = send(&stream, &error::whole_answer(error), SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
        let _closed = shutdown(&stream, Shutdown::Write);
        let Ok(permit) = self.0.clone().try_acquire_owned() else {
            return;
        };
        // What is closed with a request unread is reset, and a reset overtakes the answer.
        tokio::spawn(async move {
            let _taken = timeout(WITHIN, copy(&mut stream.take(TAKEN), &mut sink())).await;
            drop(permit);
        });
    }
}
