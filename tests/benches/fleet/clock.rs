//! A clock that both processes read.

use rustix::time::{ClockId, clock_gettime};

/// The machine's monotonic clock, which all processes share, in nanoseconds.
pub(crate) fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    u64::try_from(time.tv_sec * 1_000_000_000 + time.tv_nsec).expect("a time since the machine's start")
}
