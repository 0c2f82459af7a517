//! Randomness for spreading things that would otherwise happen together. Not for secrets.

use std::time::Duration;

/// A different number each time, from 0 to 1.
pub(crate) fn fraction() -> f64 {
    fastrand::f64()
}

/// A different duration each time, from nothing up to `limit`.
pub(crate) fn up_to(limit: Duration) -> Duration {
    limit.mul_f64(fraction())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_within_the_limit_and_differs() {
        let limit = Duration::from_secs(100);
        let drawn: std::collections::HashSet<_> = (0..100).map(|_| up_to(limit)).collect();
        assert!(drawn.iter().all(|duration| *duration <= limit));
        assert!(drawn.len() > 90, "{}", drawn.len());
    }
}
