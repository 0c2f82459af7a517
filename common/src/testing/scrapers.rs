//! Scrapers whose tokens say what becomes of them.

use async_trait::async_trait;

use crate::ops::{Access, Denial};
use crate::secret::Secret;

/// Lets the token `allowed` get `/metrics` and `/sd`, knows `unallowed`, cannot tell of `outage`, and knows no other.
#[derive(Clone, Copy, Debug)]
pub struct NamedScrapers;

#[async_trait]
impl Access for NamedScrapers {
    async fn review(&self, token: &Secret, path: &str) -> Result<(), Denial> {
        match token.expose() {
            "allowed" if ["/metrics", "/sd"].contains(&path) => Ok(()),
            "allowed" | "unallowed" => Err(Denial::Forbidden),
            "outage" => Err(Denial::Unanswered),
            _ => Err(Denial::Unknown),
        }
    }
}
