//! IMDSv2 session tokens: <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html>.

use std::collections::HashMap;
use std::time::Duration;

use http::{HeaderMap, StatusCode};
use tokio::time::Instant;

use crate::loopback::{BASE64, random_text};

pub(super) const TTL_HEADER: &str = "x-aws-ec2-metadata-token-ttl-seconds";
const TOKEN_HEADER: &str = "x-aws-ec2-metadata-token";
const FORWARDED_HEADER: &str = "x-forwarded-for";

/// The session tokens in use and when each ends.
#[derive(Debug, Default)]
pub(super) struct Tokens(HashMap<String, Instant>);

impl Tokens {
    /// Answers a PUT: a token and its life in seconds, or the status of the refusal.
    pub(super) fn mint(&mut self, path: &str, headers: &HeaderMap) -> Result<(String, u64), StatusCode> {
        if path != "/latest/api/token" {
            let versioned = path.ends_with("/api/token");
            return Err(if versioned { StatusCode::FORBIDDEN } else { StatusCode::METHOD_NOT_ALLOWED });
        }
        if headers.contains_key(FORWARDED_HEADER) {
            return Err(StatusCode::FORBIDDEN);
        }
        let ttl = headers.get(TTL_HEADER).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        let ttl = ttl.filter(|ttl| (1..=21_600).contains(ttl)).ok_or(StatusCode::BAD_REQUEST)?;
        let token = format!("AQAEA{}", random_text(BASE64, 51));
        self.0.insert(token.clone(), Instant::now() + Duration::from_secs(ttl));
        Ok((token, ttl))
    }

    /// Judges a GET's token; without one, whether one is required.
    pub(super) fn judge(&self, headers: &HeaderMap, required: bool) -> Result<(), StatusCode> {
        let Some(token) = headers.get(TOKEN_HEADER) else {
            return if required { Err(StatusCode::UNAUTHORIZED) } else { Ok(()) };
        };
        if headers.contains_key(FORWARDED_HEADER) {
            return Err(StatusCode::FORBIDDEN);
        }
        let ends = token.to_str().ok().and_then(|token| self.0.get(token));
        if ends.is_some_and(|ends| Instant::now() < *ends) { Ok(()) } else { Err(StatusCode::UNAUTHORIZED) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(http::HeaderName::from_static(name), value.parse().unwrap())])
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_ends_with_its_time() {
        let mut tokens = Tokens::default();
        let (token, _) = tokens.mint("/latest/api/token", &headers(TTL_HEADER, "60")).unwrap();
        let with_token = headers(TOKEN_HEADER, &token);
        tokio::time::advance(Duration::from_secs(59)).await;
        assert_eq!(tokens.judge(&with_token, true), Ok(()));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(tokens.judge(&with_token, true), Err(StatusCode::UNAUTHORIZED));
    }
}
