//! Reviews as a test says, which records how often it was asked.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use kiam_common::review::Unanswered;
use kiam_common::secret::Secret;

use super::review::{Review, TokenReviews};

/// Refuses every token that it was not told of.
#[derive(Default)]
pub struct FakeReviews {
    script: Mutex<Script>,
}

#[derive(Default)]
struct Script {
    nodes: HashMap<String, Review>,
    delay: Duration,
    outage: bool,
    asked: usize,
    at_once: usize,
    most_at_once: usize,
}

impl std::fmt::Debug for FakeReviews {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FakeReviews")
    }
}

impl FakeReviews {
    /// A token stands for this from now on.
    pub fn set(&self, token: &str, review: Review) {
        self.script().nodes.insert(token.into(), review);
    }

    /// A token stands for nothing any more.
    pub fn revoke(&self, token: &str) {
        self.script().nodes.remove(token);
    }

    /// How long each answer takes from now on.
    pub fn answer_after(&self, delay: Duration) {
        self.script().delay = delay;
    }

    /// Whether nothing is answered from now on.
    pub fn fail(&self, outage: bool) {
        self.script().outage = outage;
    }

    /// How often it was asked.
    pub fn asked(&self) -> usize {
        self.script().asked
    }

    /// How many asked at a time, at most.
    pub fn most_at_once(&self) -> usize {
        self.script().most_at_once
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts a review for as long as it lives: those who ask may hang up.
struct UnderWay<'a>(&'a FakeReviews);

impl<'a> UnderWay<'a> {
    fn begin(reviews: &'a FakeReviews) -> Self {
        let mut script = reviews.script();
        script.asked += 1;
        script.at_once += 1;
        script.most_at_once = script.most_at_once.max(script.at_once);
        Self(reviews)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.script().at_once -= 1;
    }
}

#[async_trait]
impl TokenReviews for FakeReviews {
    async fn review(&self, token: &Secret, _: &str) -> Result<Review, Unanswered> {
        let _under_way = UnderWay::begin(self);
        let delay = self.script().delay;
        tokio::time::sleep(delay).await;
        let script = self.script();
        if script.outage {
            return Err(Unanswered("connection refused".into()));
        }
        let unknown = || Review::Refused("invalid bearer token".into());
        Ok(script.nodes.get(token.expose()).cloned().unwrap_or_else(unknown))
    }
}
