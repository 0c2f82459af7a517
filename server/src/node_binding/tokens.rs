//! From an agent's token to its node: by memory, else by a review that everyone who brings the same token shares.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use kiam_common::clock::Clock;
use kiam_common::secret::Secret;
use ring::digest::{SHA256, digest};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use super::memory::{Digest, Memory, Recall};
use super::review::{Review, ReviewError, TokenReviews};
use super::{BindingError, Token, expiry};
use crate::metrics::{BindingMetrics, ReviewOutcome};

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

/// The node of a token, or why it has none.
type Verdict = Result<Arc<str>, BindingError>;

/// Tells the nodes of tokens.
#[derive(Debug)]
pub struct Tokens {
    reviews: Arc<dyn TokenReviews>,
    audience: String,
    clock: Clock,
    metrics: BindingMetrics,
    memory: Memory,
    under_way: Mutex<HashMap<Digest, Shared<BoxFuture<'static, Verdict>>>>,
    places: Semaphore,
}

impl Tokens {
    /// Takes tokens that were made for `audience`.
    pub fn new(reviews: Arc<dyn TokenReviews>, audience: String, clock: Clock, metrics: BindingMetrics) -> Arc<Self> {
        let (memory, under_way, places) = (Memory::new(), Mutex::default(), Semaphore::new(AT_ONCE));
        Arc::new(Self { reviews, audience, clock, metrics, memory, under_way, places })
    }

    /// The node that a token is of.
    pub(super) async fn node_of(self: &Arc<Self>, token: Token<'_>) -> Verdict {
        if token.0.len() > LONGEST {
            return Err(BindingError::TokenRefused);
        }
        let mut key: Digest = [0; 32];
        key.copy_from_slice(digest(&SHA256, token.0.as_bytes()).as_ref());
        match self.memory.recall(&key, Instant::now()) {
            Recall::Good(node) => Ok(node),
            Recall::Refused(error) => Err(error),
            Recall::Due(node) => {
                drop(self.review(key, token));
                Ok(node)
            }
            Recall::Nothing => self.review(key, token).await,
        }
    }

    /// Joins the review of this token, or begins it. It runs in a task of its own, so that it ends whoever hangs up.
    fn review(self: &Arc<Self>, key: Digest, token: Token<'_>) -> Shared<BoxFuture<'static, Verdict>> {
        let mut under_way = self.under_way();
        if let Some(review) = under_way.get(&key) {
            return review.clone();
        }
        if under_way.len() >= WAITING {
            return std::future::ready(self.remembered(&key)).boxed().shared();
        }
        let (tokens, token) = (Arc::clone(self), Secret::new(token.0.to_owned()));
        let task = tokio::spawn(async move {
            let verdict = tokens.settle(key, &token).await;
            tokens.under_way().remove(&key);
            verdict
        });
        let review = task.map(|ended| ended.unwrap_or(Err(BindingError::Unreviewed))).boxed().shared();
        under_way.insert(key, review.clone());
        review
    }

    async fn settle(&self, key: Digest, token: &Secret) -> Verdict {
        match self.ask(token).await {
            Err(error) => self.unanswered(&key, &error),
            Ok(review) => self.answered(key, token, review),
        }
    }

    async fn ask(&self, token: &Secret) -> Result<Review, ReviewError> {
        let too_slow = |what: &str, limit| ReviewError(format!("no {what} within {limit:?}"));
        let place = timeout(TURN_WITHIN, self.places.acquire()).await;
        let _place = place.map_err(|_| too_slow("turn", TURN_WITHIN))?;
        let answer = timeout(ANSWER_WITHIN, self.reviews.review(token, &self.audience)).await;
        answer.unwrap_or_else(|_| Err(too_slow("answer", ANSWER_WITHIN)))
    }

    fn answered(&self, key: Digest, token: &Secret, review: Review) -> Verdict {
        let (refusal, why) = match review {
            Review::Refused(why) => (BindingError::TokenRefused, why),
            Review::Authentic { audiences, .. } if !audiences.contains(&self.audience) => {
                (BindingError::TokenRefused, format!("it is for {audiences:?}"))
            }
            Review::Authentic { node: Some(node), .. } if !node.is_empty() => {
                self.metrics.reviewed(ReviewOutcome::Accepted);
                let (node, life) = (Arc::<str>::from(node), expiry::of(token.expose()));
                let life = life.map(|end| self.clock.until(end));
                self.memory.accept(key, Arc::clone(&node), life, Instant::now());
                return Ok(node);
            }
            Review::Authentic { .. } => (BindingError::NotOfNode, "it names no node".into()),
        };
        self.metrics.reviewed(ReviewOutcome::Refused);
        tracing::warn!(audience = self.audience, why, "a service account token is refused");
        self.memory.refuse(key, refusal, Instant::now());
        Err(refusal)
    }

    fn unanswered(&self, key: &Digest, error: &ReviewError) -> Verdict {
        self.metrics.reviewed(ReviewOutcome::Failed);
        tracing::warn!("a service account token cannot be reviewed: {error}");
        self.remembered(key)
    }

    fn remembered(&self, key: &Digest) -> Verdict {
        self.memory.go_on(key, Instant::now()).ok_or(BindingError::Unreviewed)
    }

    fn under_way(&self) -> MutexGuard<'_, HashMap<Digest, Shared<BoxFuture<'static, Verdict>>>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
