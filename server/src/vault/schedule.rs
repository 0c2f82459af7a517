//! When to renew, and how long to leave STS alone after a failure. Pure; randomness comes in as a fraction from 0 to 1.

use std::time::Duration;

use jiff::Timestamp;

use crate::sts::StsErrorKind;

/// The pause after a role's first refusal; each further one doubles it.
const REFUSED_FIRST: Duration = Duration::from_secs(5);
/// The longest pause after a refusal.
const REFUSED_LONGEST: Duration = Duration::from_mins(1);
/// The pause after a first failure that says nothing about the role; each further one doubles it.
const FAILED_FIRST: Duration = Duration::from_secs(1);
/// The longest such pause while pods have no credentials.
const FAILED_LONGEST: Duration = Duration::from_secs(10);
/// The longest such pause while pods have credentials that live on.
const STALE_LONGEST: Duration = Duration::from_mins(1);
/// The pause before the second attempt of a call, at most; each further one doubles it.
const ATTEMPT_FIRST: Duration = Duration::from_millis(250);

/// When to renew credentials that live from `now` to `ends`: `session_refresh` before their end, or at half of their
/// life where they live less than twice that. Up to a tenth of that earlier, so that roles that were fetched together
/// are not renewed together.
pub(super) fn renew_at(session_refresh: Duration, now: Timestamp, ends: Timestamp, fraction: f64) -> Timestamp {
    let life = Duration::try_from(ends.duration_since(now)).unwrap_or_default();
    let lead = session_refresh.min(life / 2);
    let lead = lead + (lead / 10).mul_f64(fraction);
    ends.saturating_sub(lead).unwrap_or(now)
}

/// How long nobody calls STS for an identity after `times` calls in a row have failed. While credentials are held whose
/// life is `left`, never longer than a quarter of that, so that an outage that ends before they do is survived.
pub(super) fn pause(kind: StsErrorKind, times: u32, left: Option<Duration>, fraction: f64) -> Duration {
    let (first, longest) = match (kind.is_refusal(), left) {
        (true, _) => (REFUSED_FIRST, REFUSED_LONGEST),
        (false, None) => (FAILED_FIRST, FAILED_LONGEST),
        (false, Some(left)) => (FAILED_FIRST, STALE_LONGEST.min(left / 4).max(FAILED_FIRST)),
    };
    // A quarter of it is random, so that those that failed together do not come back together.
    let pause = doubled(first, times).mul_f64(1.0 + fraction / 4.0);
    pause.min(longest)
}

/// How long a call waits after so many failed attempts: full jitter.
pub(super) fn attempt_pause(failed_attempts: u32, fraction: f64) -> Duration {
    doubled(ATTEMPT_FIRST, failed_attempts).mul_f64(fraction)
}

fn doubled(first: Duration, times: u32) -> Duration {
    first.saturating_mul(2_u32.saturating_pow(times.saturating_sub(1).min(16)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFRESH: Duration = Duration::from_mins(30);

    fn lead(life_seconds: i64, fraction: f64) -> i64 {
        let now: Timestamp = "2026-11-21T10:00:00Z".parse().unwrap();
        let ends = now + jiff::SignedDuration::from_secs(life_seconds);
        ends.duration_since(renew_at(REFRESH, now, ends, fraction)).as_secs()
    }

    #[test]
    fn renewal_begins_the_configured_time_before_the_end_or_up_to_a_tenth_earlier() {
        assert_eq!(lead(3600, 0.0), 1800);
        assert_eq!(lead(3600, 1.0), 1980);
        assert_eq!(lead(12 * 3600, 0.5), 1890);
    }

    #[test]
    fn sessions_shorter_than_twice_that_are_renewed_at_half_of_their_life() {
        assert_eq!(lead(3599, 0.0), 1799);
        assert_eq!(lead(900, 0.0), 450);
        assert_eq!(lead(10, 0.0), 5);
        assert_eq!(lead(0, 0.0), 0);
        assert_eq!(lead(-5, 0.0), 0);
    }

    #[test]
    fn a_refused_role_is_left_alone_for_five_to_sixty_seconds() {
        let seconds = |times| pause(StsErrorKind::Refused, times, None, 0.0).as_secs();
        assert_eq!([1, 2, 3, 4, 5, 6, u32::MAX].map(seconds), [5, 10, 20, 40, 60, 60, 60]);
        assert_eq!(pause(StsErrorKind::Refused, 1, None, 1.0), Duration::from_millis(6250));
        assert_eq!(pause(StsErrorKind::TooLong, 9, None, 1.0).as_secs(), 60);
    }

    #[test]
    fn other_failures_pause_for_less_the_less_life_is_left() {
        let seconds = |times, left: u64| {
            let left = (left > 0).then(|| Duration::from_secs(left));
            pause(StsErrorKind::Unavailable, times, left, 0.0).as_secs()
        };
        assert_eq!([1, 2, 3, 4, 5, 9].map(|times| seconds(times, 0)), [1, 2, 4, 8, 10, 10]);
        assert_eq!([1, 4, 7, 9].map(|times| seconds(times, 1800)), [1, 8, 60, 60]);
        assert_eq!([1800, 120, 60, 8, 3, 1].map(|left| seconds(9, left)), [60, 30, 15, 2, 1, 1]);
    }

    #[test]
    fn attempts_of_a_call_back_off_with_full_jitter() {
        assert_eq!(attempt_pause(1, 0.0), Duration::ZERO);
        assert_eq!(attempt_pause(1, 1.0), Duration::from_millis(250));
        assert_eq!(attempt_pause(2, 0.5), Duration::from_millis(250));
    }
}
