//! Who may read metrics: the servers know, as the agent has no way to the Kubernetes API. Behind `--metrics-auth=kubernetes`;
//! what they say is remembered by [`kiam_common::ops::Reviewed`].

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use kiam_common::ops::Denial;
use kiam_common::review::{Reviewer, Unanswered};
use kiam_common::secret::Secret;
use kiam_proto::node::{ReviewRequest, Verdict};
use tokio::time::timeout;

use crate::sync::endpoints::Endpoints;
use crate::sync::status;

/// How long one server may take before the next is asked.
const ANSWER_WITHIN: Duration = Duration::from_millis(900);

/// The servers.
pub(crate) struct ServersKnow(pub(crate) Arc<Endpoints>);

#[async_trait]
impl Reviewer for ServersKnow {
    type Good = ();
    type Bad = Denial;

    async fn review(&self, token: &Secret, path: &str) -> Result<Result<(), Denial>, Unanswered> {
        let mut last = "no server is known".to_owned();
        for endpoint in self.0.in_turn() {
            let request = ReviewRequest { token: token.expose().to_owned(), path: path.to_owned() };
            match timeout(ANSWER_WITHIN, endpoint.scrapers_client().review(request)).await {
                Ok(Ok(answer)) => return read(answer.get_ref().verdict()),
                Ok(Err(refused)) => last = status::refusal(&refused).message,
                Err(_) => last = format!("{} does not answer within {ANSWER_WITHIN:?}", endpoint.address()),
            }
        }
        Err(Unanswered(last))
    }
}

fn read(verdict: Verdict) -> Result<Result<(), Denial>, Unanswered> {
    match verdict {
        Verdict::Allowed => Ok(Ok(())),
        Verdict::UnknownToken => Ok(Err(Denial::Unknown)),
        Verdict::NotAllowed => Ok(Err(Denial::Forbidden)),
        Verdict::Unspecified => Err(Unanswered("the server's verdict is not known here".into())),
    }
}

impl fmt::Debug for ServersKnow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServersKnow")
    }
}
