//! Randomness for spreading things that would otherwise happen together. Not for secrets.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

/// A different number each time, from 0 to 1.
pub(crate) fn fraction() -> f64 {
    let random = RandomState::new().hash_one(());
    // The upper half of the bits is a fraction of 2^32.
    f64::from(u32::try_from(random >> 32).unwrap_or(u32::MAX)) / f64::from(u32::MAX)
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
