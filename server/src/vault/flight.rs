//! One AssumeRole call, shared by all who wait for it. It runs in a task of its own, so that those who hang up take
//! nobody else's answer with them, and it has a deadline of its own.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use jiff::Timestamp;
use kiam_common::clock::Clock;
use kiam_common::credentials::Credentials;
use kiam_common::role::RoleIdentity;
use tokio::task::AbortHandle;

use super::entry::Entry;
use super::refresh::Schedule;
use crate::metrics::VaultMetrics;
use crate::sts::{Sts, StsError};

/// The longest that one flight may take, all attempts of the AWS SDK included.
const DEADLINE: Duration = Duration::from_secs(30);

/// How a flight ends, for everyone who waits for it.
pub type Outcome = Result<Arc<Credentials>, Arc<StsError>>;

/// A call under way or over.
#[derive(Clone)]
pub(super) struct Flight {
    task: AbortHandle,
    outcome: Shared<BoxFuture<'static, Outcome>>,
}

impl Flight {
    /// Whether the task has ended. Its entry knows the outcome by then.
    pub(super) fn is_over(&self) -> bool {
        self.task.is_finished()
    }

    /// Waits for the outcome.
    pub(super) async fn outcome(self) -> Outcome {
        self.outcome.await
    }
}

impl fmt::Debug for Flight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flight").field("over", &self.is_over()).finish_non_exhaustive()
    }
}

/// Starts flights.
pub(super) struct Launcher {
    pub(super) sts: Arc<dyn Sts>,
    pub(super) clock: Clock,
    pub(super) schedule: Schedule,
    pub(super) metrics: VaultMetrics,
}

impl Launcher {
    /// Starts a flight for `identity` that lands in `entry`.
    pub(super) fn launch(self: &Arc<Self>, identity: &Arc<RoleIdentity>, entry: &Arc<Entry>) -> Flight {
        let (launcher, identity, entry) = (Arc::clone(self), Arc::clone(identity), Arc::clone(entry));
        let task = tokio::spawn(async move {
            let outcome = launcher.fly(&identity).await;
            launcher.land(&identity, &entry, outcome.as_ref());
            outcome.map_err(Arc::new)
        });
        let abort_handle = task.abort_handle();
        let lost = || Err(Arc::new(StsError::unavailable("the call was abandoned")));
        Flight {
            task: abort_handle,
            outcome: task.map(move |outcome| outcome.unwrap_or_else(|_| lost())).boxed().shared(),
        }
    }

    async fn fly(&self, identity: &RoleIdentity) -> Result<Arc<Credentials>, StsError> {
        let _calling = self.metrics.calling();
        let call = tokio::time::timeout(DEADLINE, self.sts.assume_role(identity));
        let credentials = call.await.unwrap_or_else(|_| {
            Err(StsError::unavailable(format!("no answer within {} seconds", DEADLINE.as_secs())))
        })?;
        if credentials.expiration <= self.clock.now() {
            return Err(StsError::unavailable("the credentials had expired when they were issued"));
        }
        Ok(Arc::new(credentials))
    }

    fn land(&self, identity: &RoleIdentity, entry: &Entry, outcome: Result<&Arc<Credentials>, &StsError>) {
        let now: Timestamp = self.clock.now();
        match outcome {
            Ok(credentials) => {
                let renew_at = self.schedule.renew_at(now, credentials.expiration);
                tracing::debug!(role = %identity.arn, session = %identity.session_name,
                    expiration = %credentials.expiration, %renew_at, "credentials issued");
                entry.succeeded(Arc::clone(credentials), renew_at);
            }
            Err(error) => {
                self.metrics.failed(error.kind);
                tracing::warn!(role = %identity.arn, session = %identity.session_name,
                    still_held = entry.holds(now), "no credentials issued: {error}");
                entry.failed(|failures| Schedule::retry_at(now, failures));
            }
        }
    }
}
