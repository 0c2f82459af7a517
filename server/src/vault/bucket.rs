//! A token bucket: so many calls a second, a second's worth of them at once. Pure.

use std::time::Duration;

use jiff::Timestamp;

/// The bucket. It is full at the beginning.
#[derive(Debug)]
pub(super) struct Bucket {
    per_second: f64,
    tokens: f64,
    counted_at: Timestamp,
}

impl Bucket {
    /// A full bucket that fills at `per_second`, which must not be 0.
    pub(super) fn new(per_second: u32, now: Timestamp) -> Self {
        Self { per_second: f64::from(per_second), tokens: f64::from(per_second), counted_at: now }
    }

    /// Takes a token; if there is none, says how long it takes until there is.
    pub(super) fn take(&mut self, now: Timestamp) -> Result<(), Duration> {
        let elapsed = now.duration_since(self.counted_at).as_secs_f64().max(0.0);
        self.tokens = (self.tokens + elapsed * self.per_second).min(self.per_second);
        self.counted_at = self.counted_at.max(now);
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Ok(());
        }
        // Timers are true to the millisecond; a token is never counted before it is there.
        Err(Duration::from_secs_f64((1.0 - self.tokens) / self.per_second) + Duration::from_millis(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_more_than_the_rate_beyond_the_first_second() {
        let begin: Timestamp = "2026-11-21T10:00:00Z".parse().unwrap();
        let mut bucket = Bucket::new(100, begin);
        let (mut now, mut taken) = (begin, 0);
        let end = begin + Duration::from_mins(1);
        while now < end {
            match bucket.take(now) {
                Ok(()) => taken += 1,
                Err(wait) => now += wait,
            }
        }
        assert!((5500..=6100).contains(&taken), "{taken} in 60 s at 100 a second and a burst of 100");
    }

    #[test]
    fn time_that_goes_backwards_gives_nothing_and_takes_nothing() {
        let begin: Timestamp = "2026-11-21T10:00:00Z".parse().unwrap();
        let mut bucket = Bucket::new(1, begin);
        assert_eq!(bucket.take(begin), Ok(()));
        assert!(bucket.take(begin - Duration::from_hours(1)).is_err());
        assert_eq!(bucket.take(begin + Duration::from_secs(2)), Ok(()));
    }
}
