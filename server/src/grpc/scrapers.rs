//! `kiam.node.v1.Scrapers`: tells agents who may read metrics.

use std::sync::Arc;

use kiam_common::ops::{Access, Denial};
use kiam_common::secret::Secret;
use kiam_proto::encoding::node::scrapers_server::Scrapers;
use kiam_proto::encoding::node::{ReviewResponse, Verdict};
use kiam_proto::node::ReviewRequest;
use tonic::{Request, Response, Status};

/// The longest path that is asked about, in bytes.
const LONGEST_PATH: usize = 256;

/// The service.
pub(super) struct Gatekeeper(pub(super) Arc<dyn Access>);

#[tonic::async_trait]
impl Scrapers for Gatekeeper {
    async fn review(&self, request: Request<ReviewRequest>) -> Result<Response<ReviewResponse>, Status> {
        let ReviewRequest { token, path } = request.into_inner();
        let token = Secret::new(token);
        if !path.starts_with('/') || path.len() > LONGEST_PATH {
            return Err(Status::invalid_argument("expected a path that begins with /"));
        }
        let verdict = match self.0.review(&token, &path).await {
            Ok(()) => Verdict::Allowed,
            Err(Denial::Unknown) => Verdict::UnknownToken,
            Err(Denial::Forbidden) => Verdict::NotAllowed,
            Err(unanswered @ Denial::Unanswered) => return Err(Status::unavailable(unanswered.to_string())),
        };
        Ok(Response::new(ReviewResponse { verdict: verdict.into() }))
    }
}
