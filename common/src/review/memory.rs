//! What was said of tokens, by their digests: a token itself is never kept. Plain and synchronous.
//!
//! A good token is asked about again before what was said gets old, so that one that is revoked is refused soon; while
//! nobody answers, what was said last counts until the token's own end. What was refused is kept apart, for seconds, so
//! that a flood of forged tokens displaces no good one.

use std::fmt;
use std::time::Duration;

use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use tokio::time::Instant;

/// How long before its end a token stops being good here.
const MARGIN: Duration = Duration::from_secs(5);
/// How soon it is asked about again when there was no answer.
const RETRY_AFTER: Duration = Duration::from_secs(10);
/// How long a refusal is remembered.
const REFUSED_FOR: Duration = Duration::from_secs(5);
/// Tokens of each kind; several for each node of a large cluster, as they rotate.
const CAPACITY: u64 = 20_000;

/// How long what was said of a good token counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// After this long it is asked about again, while it goes on being good.
    pub renew_after: Duration,
    /// After this long it waits for the answer.
    pub stale_after: Duration,
}

/// The SHA-256 digest of a token and what it is for.
pub(super) type Digest = [u8; 32];

/// What was said of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Recall<G, B> {
    /// It is good, and stands for this.
    Good(G),
    /// The same; but ask again.
    Due(G),
    /// It is not good.
    Refused(B),
    /// Nothing that still counts.
    Nothing,
}

#[derive(Clone, Debug)]
struct Good<G> {
    stands_for: G,
    renew_at: Instant,
    stale_at: Instant,
    ends_at: Instant,
}

/// The memory.
pub(super) struct Memory<G, B> {
    patience: Patience,
    good: Cache<Digest, Good<G>>,
    refused: Cache<Digest, (B, Instant)>,
}

impl<G, B> Memory<G, B>
where
    G: Clone + Send + Sync + fmt::Debug + 'static,
    B: Copy + Send + Sync + fmt::Debug + 'static,
{
    /// Nothing was said yet.
    pub(super) fn new(patience: Patience) -> Self {
        Self { patience, good: cache(), refused: cache() }
    }

    /// What is known of a token.
    pub(super) fn recall(&self, token: &Digest, now: Instant) -> Recall<G, B> {
        if let Some(Good { stands_for, renew_at, stale_at, .. }) = self.good.get(token) {
            if now < renew_at {
                return Recall::Good(stands_for);
            }
            return if now < stale_at { Recall::Due(stands_for) } else { Recall::Nothing };
        }
        match self.refused.get(token) {
            Some((bad, until)) if now < until => Recall::Refused(bad),
            _ => Recall::Nothing,
        }
    }

    /// A token is good. `life` is how long the token itself says that it lives, if it does.
    pub(super) fn accept(&self, token: Digest, stands_for: G, life: Option<Duration>, now: Instant) {
        let Patience { renew_after, stale_after } = self.patience;
        let ends_at = now + life.map_or(stale_after, |life| life.saturating_sub(MARGIN));
        let (renew_at, stale_at) = (ends_at.min(now + renew_after), ends_at.min(now + stale_after));
        self.good.insert(token, Good { stands_for, renew_at, stale_at, ends_at });
    }

    /// A token is not good.
    pub(super) fn refuse(&self, token: Digest, bad: B, now: Instant) {
        self.good.invalidate(&token);
        self.refused.insert(token, (bad, now + REFUSED_FOR));
    }

    /// There is no answer: what a token stands for that was found good before, and that has not ended.
    pub(super) fn go_on(&self, token: &Digest, now: Instant) -> Option<G> {
        let good = self.good.get(token).filter(|good| now < good.ends_at)?;
        let renew_at = good.ends_at.min(now + RETRY_AFTER);
        let stale_at = good.ends_at.min(now + self.patience.stale_after);
        self.good.insert(*token, Good { renew_at, stale_at, ..good.clone() });
        Some(good.stands_for)
    }
}

fn cache<V: Clone + Send + Sync + 'static>() -> Cache<Digest, V> {
    Cache::builder().max_capacity(CAPACITY).eviction_policy(EvictionPolicy::lru()).build()
}
