//! What only the instance metadata service can answer: passed on if the operator allows the path, refused if not.
//! Also `/health`, which asks it for the instance's id.
//!
//! What must always hold: what is sent there is built anew from the canonical path; no header, body or method of a
//! pod's request ever reaches it.

use std::sync::Arc;

use http::{Response, StatusCode};
use http_body_util::Full;

use super::allowed::AllowedRoutes;
use super::body::{self, Body};
use super::guard::Target;
use crate::error::Error;
use crate::metadata::MetadataService;
use crate::metrics::Metrics;

/// Passes requests on.
pub(crate) struct Proxy {
    /// What may be passed on.
    pub(crate) allowed: AllowedRoutes,
    /// Who answers it.
    pub(crate) metadata: Arc<MetadataService>,
    /// Kiam's counters.
    pub(crate) metrics: Arc<Metrics>,
}

impl Proxy {
    /// The service's answer to an allowed path.
    pub(crate) async fn pass_on(&self, target: &Target<'_>) -> Result<Response<Body>, Error> {
        self.pass_on_if(self.allowed.contain(&target.path), target).await
    }

    /// The service's answer to a path that has user data's name in it.
    pub(crate) async fn user_data(&self, target: &Target<'_>) -> Result<Response<Body>, Error> {
        self.pass_on_if(self.allowed.contain_user_data(&target.path), target).await
    }

    async fn pass_on_if(&self, allowed: bool, target: &Target<'_>) -> Result<Response<Body>, Error> {
        if !allowed {
            return Err(self.blocked(Error::NotAllowed));
        }
        Ok(self.metadata.get(&target.path, target.query).await?.map(Full::new))
    }

    /// Counts a request that is not passed on, and gives its error back.
    pub(crate) fn blocked(&self, error: Error) -> Error {
        self.metrics.proxy_blocked.inc();
        error
    }

    /// The instance's id, the sign that the service is there and answers the agent.
    pub(crate) async fn instance_id(&self) -> Result<Response<Body>, Error> {
        let answer = self.metadata.get("/latest/meta-data/instance-id", None).await?;
        match answer.status() {
            StatusCode::OK => Ok(body::response(StatusCode::OK, body::TEXT, answer.into_body())),
            status => Err(Error::MetadataStatus(status.as_u16())),
        }
    }
}
