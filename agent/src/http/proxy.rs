//! What only the instance metadata service can answer: passed on if the operator allows the path, refused if not.
//! Also `/health`, which asks it for the instance's id.
//!
//! What must always hold: what is sent there is built anew from the canonical path; no header, body or method of a
//! pod's request ever reaches it.

use std::sync::Arc;

use http::{Response, StatusCode};
use http_body_util::Full;
use regex::Regex;

use super::body::{self, Body};
use super::guard::Target;
use crate::error::Error;
use crate::metadata::MetadataService;
use crate::metrics::Metrics;

/// The paths that pods may read from the instance metadata service: `--allow-route-regexp`.
#[derive(Clone, Debug)]
pub struct AllowedRoutes(Regex);

impl AllowedRoutes {
    /// Compiles an expression that must match the whole canonical path, the slash in front included. An error is one
    /// line.
    pub fn parse(expression: &str) -> Result<Self, String> {
        let anchored = format!("^(?:{expression})$");
        // By itself first: an expression may not break out of the group that anchors it.
        let compiled = Regex::new(expression).and_then(|_| Regex::new(&anchored));
        compiled.map(Self).map_err(|error| {
            let told = error.to_string();
            let why = told.lines().last().unwrap_or_default().trim_start_matches("error: ");
            format!("expected a regular expression: {why}")
        })
    }

    fn contain(&self, path: &str) -> bool {
        self.0.is_match(path)
    }
}

/// Passes requests on.
pub(crate) struct Proxy {
    /// What may be passed on.
    pub(crate) allowed: AllowedRoutes,
    /// Who answers it.
    pub(crate) metadata: MetadataService,
    /// Kiam's counters.
    pub(crate) metrics: Arc<Metrics>,
}

impl Proxy {
    /// The service's answer to an allowed path.
    pub(crate) async fn pass_on(&self, target: &Target<'_>) -> Result<Response<Body>, Error> {
        if !self.allowed.contain(&target.path) {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(expression: &str, path: &str) -> bool {
        AllowedRoutes::parse(expression).unwrap().contain(path)
    }

    #[test]
    fn the_default_allows_nothing() {
        for path in ["/", "/latest/meta-data/", "/latest/meta-data/instance-id"] {
            assert!(!allows("^$", path), "{path}");
        }
    }

    #[test]
    fn the_whole_path_must_match() {
        assert!(allows("/latest/meta-data/placement/.*", "/latest/meta-data/placement/region"));
        assert!(allows("^/latest/meta-data/placement/.*$", "/latest/meta-data/placement/region"));
        assert!(!allows("placement", "/latest/meta-data/placement/region"));
        assert!(!allows("/latest/meta-data/placement", "/latest/meta-data/placement/region"));
        assert!(!allows("/a|/b", "/bc"));
        assert!(allows("/a|/b", "/b"));
    }

    #[test]
    fn an_expression_cannot_break_out_of_its_anchors() {
        assert!(AllowedRoutes::parse("/a)|(?:/b").is_err());
        assert!(AllowedRoutes::parse("(").is_err());
    }
}
