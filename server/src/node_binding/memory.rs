//! What the Kubernetes API has said of tokens, by their digests: a token itself is never kept. Plain and synchronous.
//!
//! A good token is asked about again before what was said gets old, so that one whose pod has gone is refused soon; while
//! the API is away, what it said last counts until the token's own end. What was refused is kept apart, for seconds, so
//! that a flood of forged tokens displaces no good one.

use std::sync::Arc;
use std::time::Duration;

use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use tokio::time::Instant;

use super::BindingError;

/// After this long a good token is asked about again, while it goes on being good.
const RENEW_AFTER: Duration = Duration::from_mins(4);
/// After this long it waits for the answer.
const STALE_AFTER: Duration = Duration::from_mins(5);
/// How long before its end a token stops being good here.
const MARGIN: Duration = Duration::from_secs(5);
/// How soon it is asked about again when the API did not answer.
const RETRY_AFTER: Duration = Duration::from_secs(10);
/// How long a refusal is remembered.
const REFUSED_FOR: Duration = Duration::from_secs(5);
/// Tokens of each kind; several for each node of a large cluster, as they rotate.
const CAPACITY: u64 = 20_000;

/// The SHA-256 digest of a token.
pub(super) type Digest = [u8; 32];

/// What was said of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Recall {
    /// It is good, and of this node.
    Good(Arc<str>),
    /// The same; but ask again.
    Due(Arc<str>),
    /// It is not good.
    Refused(BindingError),
    /// Nothing that still counts.
    Nothing,
}

#[derive(Clone, Debug)]
struct Good {
    node: Arc<str>,
    renew_at: Instant,
    stale_at: Instant,
    ends_at: Instant,
}

/// The memory.
#[derive(Debug)]
pub(super) struct Memory {
    good: Cache<Digest, Good>,
    refused: Cache<Digest, (BindingError, Instant)>,
}

impl Memory {
    /// Nothing was said yet.
    pub(super) fn new() -> Self {
        Self { good: cache(), refused: cache() }
    }

    /// What is known of a token.
    pub(super) fn recall(&self, token: &Digest, now: Instant) -> Recall {
        if let Some(Good { node, renew_at, stale_at, .. }) = self.good.get(token) {
            if now < renew_at {
                return Recall::Good(node);
            }
            return if now < stale_at { Recall::Due(node) } else { Recall::Nothing };
        }
        match self.refused.get(token) {
            Some((error, until)) if now < until => Recall::Refused(error),
            _ => Recall::Nothing,
        }
    }

    /// The API says that a token is good. `life` is how long the token itself says that it lives, if it does.
    pub(super) fn accept(&self, token: Digest, node: Arc<str>, life: Option<Duration>, now: Instant) {
        let ends_at = now + life.map_or(STALE_AFTER, |life| life.saturating_sub(MARGIN));
        let (renew_at, stale_at) = (ends_at.min(now + RENEW_AFTER), ends_at.min(now + STALE_AFTER));
        self.good.insert(token, Good { node, renew_at, stale_at, ends_at });
    }

    /// The API says that a token is not good.
    pub(super) fn refuse(&self, token: Digest, error: BindingError, now: Instant) {
        self.good.invalidate(&token);
        self.refused.insert(token, (error, now + REFUSED_FOR));
    }

    /// The API says nothing: the node of a token that it has found good before, and that has not ended.
    pub(super) fn go_on(&self, token: &Digest, now: Instant) -> Option<Arc<str>> {
        let good = self.good.get(token).filter(|good| now < good.ends_at)?;
        let renew_at = good.ends_at.min(now + RETRY_AFTER);
        let stale_at = good.ends_at.min(now + STALE_AFTER);
        self.good.insert(*token, Good { renew_at, stale_at, ..good.clone() });
        Some(good.node)
    }
}

fn cache<V: Clone + Send + Sync + 'static>() -> Cache<Digest, V> {
    Cache::builder().max_capacity(CAPACITY).eviction_policy(EvictionPolicy::lru()).build()
}
