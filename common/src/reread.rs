//! Files that others replace while the program runs: read again and again and compared, not watched. That sees
//! Kubernetes swap its symlink, a rename, a copy in place and a network file system alike, and survives files that are
//! gone for a moment.

use std::fmt::Display;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::shutdown::Shutdown;

/// Has `read` look at the files every `every` until `shutdown`. A fault is warned about when it is another than the
/// last, with `meanwhile` saying what goes on in spite of it.
pub async fn keep<R, F, E>(every: Duration, shutdown: Shutdown, meanwhile: &str, mut read: R)
where
    R: FnMut() -> F,
    F: Future<Output = Result<(), E>>,
    E: Display,
{
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last_fault = None;
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = shutdown.begun() => return,
        }
        let fault = read().await.err().map(|fault| fault.to_string());
        if let Some(fault) = fault.as_ref().filter(|fault| last_fault.as_ref() != Some(*fault)) {
            tracing::warn!("{fault}; {meanwhile}");
        }
        last_fault = fault;
    }
}
