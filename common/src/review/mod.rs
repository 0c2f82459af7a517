//! From a bearer token to what somebody else says of it: by memory, else by a review that everyone who brings the same
//! token shares. Node binding asks the Kubernetes API which node an agent is of; the status listeners ask who may read
//! metrics.
//!
//! What must always hold: a token is kept as a digest and no other way; few reviews are under way at a time, however many
//! tokens come; what nobody answers is not good, unless it was before and has not ended.

mod expiry;
mod memory;
mod metrics;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use ring::digest::{Context, SHA256};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use crate::clock::Clock;
use crate::secret::Secret;
pub use memory::Patience;
use memory::{Digest, Memory, Recall};
pub use metrics::{ReviewMetrics, ReviewOutcome};

/// Reviews at a time.
const AT_ONCE: usize = 8;
/// Reviews under way or waiting; whoever comes beyond that is told to ask later.
const WAITING: usize = 512;
/// How long a review may wait for its turn.
const TURN_WITHIN: Duration = Duration::from_secs(1);
/// How long it may then take.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// The longest token that is looked at; those of Kubernetes have about 1,200 bytes.
const LONGEST: usize = 16 * 1024;

/// Who can tell whether a token is good.
#[async_trait]
pub trait Reviewer: Send + Sync + fmt::Debug + 'static {
    /// What a good token stands for.
    type Good: Clone + Send + Sync + fmt::Debug + 'static;
    /// Why another is not good.
    type Bad: Copy + Send + Sync + fmt::Debug + From<NoVerdict> + 'static;

    /// Asks about a token, for this purpose.
    async fn review(&self, token: &Secret, purpose: &str) -> Result<Result<Self::Good, Self::Bad>, Unanswered>;
}

/// Why nobody has said that a token is good or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoVerdict {
    /// It is longer than any token.
    TooLong,
    /// There was no answer in time.
    Unanswered,
}

/// Why there is no answer. Safe to print.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unanswered(pub String);

/// What is said of a token.
type Verdict<R> = Result<<R as Reviewer>::Good, <R as Reviewer>::Bad>;
/// A review that several wait for.
type UnderWay<R> = Shared<BoxFuture<'static, Verdict<R>>>;

/// Tells what tokens stand for.
pub struct Reviews<R: Reviewer> {
    reviewer: R,
    clock: Clock,
    metrics: ReviewMetrics,
    memory: Memory<R::Good, R::Bad>,
    under_way: Mutex<HashMap<Digest, UnderWay<R>>>,
    places: Semaphore,
}

impl<R: Reviewer> Reviews<R> {
    /// Asks `reviewer`, and remembers what it says as `patience` has it.
    pub fn new(reviewer: R, patience: Patience, clock: Clock, metrics: ReviewMetrics) -> Arc<Self> {
        let (memory, under_way, places) = (Memory::new(patience), Mutex::default(), Semaphore::new(AT_ONCE));
        Arc::new(Self { reviewer, clock, metrics, memory, under_way, places })
    }

    /// What a token stands for, for this purpose.
    pub async fn verdict(self: &Arc<Self>, token: &str, purpose: &str) -> Verdict<R> {
        if token.len() > LONGEST {
            return Err(NoVerdict::TooLong.into());
        }
        let key = digest(token, purpose);
        match self.memory.recall(&key, Instant::now()) {
            Recall::Good(good) => Ok(good),
            Recall::Refused(bad) => Err(bad),
            Recall::Due(good) => {
                drop(self.review(key, token, purpose));
                Ok(good)
            }
            Recall::Nothing => self.review(key, token, purpose).await,
        }
    }

    /// Joins the review of this token, or begins it. It runs in a task of its own, so that it ends whoever hangs up.
    fn review(self: &Arc<Self>, key: Digest, token: &str, purpose: &str) -> UnderWay<R> {
        let mut under_way = self.under_way();
        if let Some(review) = under_way.get(&key) {
            return review.clone();
        }
        if under_way.len() >= WAITING {
            return std::future::ready(self.remembered(&key)).boxed().shared();
        }
        let (reviews, token, purpose) = (Arc::clone(self), Secret::new(token.to_owned()), purpose.to_owned());
        let task = tokio::spawn(async move {
            let verdict = reviews.settle(key, &token, &purpose).await;
            reviews.under_way().remove(&key);
            verdict
        });
        let review = task.map(|ended| ended.unwrap_or_else(|_| Err(NoVerdict::Unanswered.into()))).boxed().shared();
        under_way.insert(key, review.clone());
        review
    }

    async fn settle(&self, key: Digest, token: &Secret, purpose: &str) -> Verdict<R> {
        match self.ask(token, purpose).await {
            Ok(Ok(good)) => {
                self.metrics.reviewed(ReviewOutcome::Accepted);
                let life = expiry::of(token.expose()).map(|end| self.clock.until(end));
                self.memory.accept(key, good.clone(), life, Instant::now());
                Ok(good)
            }
            Ok(Err(bad)) => {
                self.metrics.reviewed(ReviewOutcome::Refused);
                self.memory.refuse(key, bad, Instant::now());
                Err(bad)
            }
            Err(unanswered) => {
                self.metrics.reviewed(ReviewOutcome::Failed);
                tracing::warn!("a bearer token cannot be reviewed: {unanswered}");
                self.remembered(&key)
            }
        }
    }

    async fn ask(&self, token: &Secret, purpose: &str) -> Result<Verdict<R>, Unanswered> {
        let too_slow = |what: &str, limit| Unanswered(format!("no {what} within {limit:?}"));
        let place = timeout(TURN_WITHIN, self.places.acquire()).await;
        let _place = place.map_err(|_| too_slow("turn", TURN_WITHIN))?;
        let answer = timeout(ANSWER_WITHIN, self.reviewer.review(token, purpose)).await;
        answer.unwrap_or_else(|_| Err(too_slow("answer", ANSWER_WITHIN)))
    }

    fn remembered(&self, key: &Digest) -> Verdict<R> {
        self.memory.go_on(key, Instant::now()).ok_or(NoVerdict::Unanswered.into())
    }

    fn under_way(&self) -> MutexGuard<'_, HashMap<Digest, UnderWay<R>>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<R: Reviewer> fmt::Debug for Reviews<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reviews").field("reviewer", &self.reviewer).finish_non_exhaustive()
    }
}

/// Of a token and a purpose together: what is good for one may not be for another.
fn digest(token: &str, purpose: &str) -> Digest {
    let mut context = Context::new(&SHA256);
    context.update(purpose.as_bytes());
    context.update(&[0]);
    context.update(token.as_bytes());
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    digest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Registry;
    use crate::testing::metrics::count;

    /// Finds a token good for the purpose that it names.
    #[derive(Debug)]
    struct ForItsPurpose;

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Bad;

    impl From<NoVerdict> for Bad {
        fn from(_: NoVerdict) -> Self {
            Self
        }
    }

    #[async_trait]
    impl Reviewer for ForItsPurpose {
        type Good = ();
        type Bad = Bad;

        async fn review(&self, token: &Secret, purpose: &str) -> Result<Result<(), Bad>, Unanswered> {
            Ok(if token.expose() == purpose { Ok(()) } else { Err(Bad) })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_good_for_one_purpose_is_asked_about_for_another() {
        let registry = Registry::new();
        let metrics = ReviewMetrics::new(&registry, "reviews_total", "Reviews").unwrap();
        let patience = Patience { renew_after: Duration::from_mins(1), stale_after: Duration::from_mins(2) };
        let reviews = Reviews::new(ForItsPurpose, patience, Clock::system(), metrics);
        for _ in 0..2 {
            assert_eq!(reviews.verdict("/metrics", "/metrics").await, Ok(()));
            assert_eq!(reviews.verdict("/metrics", "/sd").await, Err(Bad));
        }
        let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        for outcome in ["accepted", "refused"] {
            assert_eq!(count(&text, &format!("reviews_total{{outcome=\"{outcome}\"}}")), Some(1), "{outcome}");
        }
    }
}
