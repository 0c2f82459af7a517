//! The time of day, told so that tests can hold it.

use std::time::Duration;

use jiff::Timestamp;
use rustix::time::{ClockId, clock_gettime};
use tokio::time::Instant;

/// Tells wall time by tokio's clock: a reading taken once, plus the monotonic time since, plus the time for which the
/// machine was suspended, which monotonic time leaves out. A step of the machine's wall clock does not move it, and
/// under paused tokio time it moves as the test says.
#[derive(Clone, Debug)]
pub struct Clock {
    origin: Instant,
    suspended_at_origin: Duration,
    wall_at_origin: Timestamp,
}

impl Clock {
    /// A clock set by the machine's own.
    pub fn system() -> Self {
        #[expect(clippy::disallowed_methods, reason = "the one reading that every other is counted from")]
        Self::starting_at(Timestamp::now())
    }

    /// A clock that shows `wall` now.
    pub fn starting_at(wall: Timestamp) -> Self {
        Self { origin: Instant::now(), suspended_at_origin: suspended(), wall_at_origin: wall }
    }

    /// The time of day.
    pub fn now(&self) -> Timestamp {
        let asleep = suspended().saturating_sub(self.suspended_at_origin);
        // The two readings behind it are not made at one moment; what is that short was no suspension.
        let asleep = if asleep < Duration::from_secs(1) { Duration::ZERO } else { asleep };
        let elapsed = self.origin.elapsed().saturating_add(asleep);
        let elapsed = jiff::SignedDuration::try_from(elapsed).unwrap_or(jiff::SignedDuration::MAX);
        self.wall_at_origin.saturating_add(elapsed).unwrap_or(Timestamp::MAX)
    }

    /// How long until `instant`; zero if it has passed.
    pub fn until(&self, instant: Timestamp) -> Duration {
        Duration::try_from(instant.duration_since(self.now())).unwrap_or(Duration::ZERO)
    }
}

/// The instant of an HTTP `Date` header.
pub fn parse_http_date(text: &str) -> Option<Timestamp> {
    jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()
}

/// How long the machine has been suspended since it was started.
fn suspended() -> Duration {
    let since_boot = |clock| Duration::try_from(clock_gettime(clock)).unwrap_or_default();
    let with_suspension = since_boot(ClockId::Boottime);
    with_suspension.saturating_sub(since_boot(ClockId::Monotonic))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_of_an_http_answer_is_read() {
        let read = parse_http_date("Sun, 22 Nov 2026 05:18:42 GMT");
        assert_eq!(read, Some("2026-11-22T05:18:42Z".parse().unwrap()));
        assert_eq!(parse_http_date("now"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn moves_with_tokio_time() {
        let clock = Clock::starting_at("2026-11-21T10:00:00Z".parse().unwrap());
        tokio::time::advance(Duration::from_secs(90)).await;
        assert_eq!(clock.now(), "2026-11-21T10:01:30Z".parse().unwrap());
        assert_eq!(clock.until("2026-11-21T10:02:00Z".parse().unwrap()), Duration::from_secs(30));
        assert_eq!(clock.until("2026-11-21T10:00:00Z".parse().unwrap()), Duration::ZERO);
    }
}
