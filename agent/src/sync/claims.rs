//! What a service account token says of itself (RFC 7519), for people who look for what is wrong: without its key nobody
//! can tell whether it is true.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde::Deserialize;

/// The claims that matter to a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claims {
    /// When it ends, if ever.
    pub(crate) ends: Option<Timestamp>,
    /// For whom it was made.
    pub(crate) audiences: Vec<String>,
}

#[derive(Deserialize)]
struct Payload {
    exp: Option<i64>,
    #[serde(default)]
    aud: Audiences,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audiences {
    One(String),
    Several(Vec<String>),
}

impl Default for Audiences {
    fn default() -> Self {
        Self::Several(Vec::new())
    }
}

impl Claims {
    /// Reads them; none if this is no JSON Web Token.
    pub(crate) fn of(token: &str) -> Option<Self> {
        let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
        let Payload { exp, aud } = serde_json::from_slice(&payload).ok()?;
        let audiences = match aud {
            Audiences::One(audience) => vec![audience],
            Audiences::Several(audiences) => audiences,
        };
        Some(Self { ends: exp.and_then(|seconds| Timestamp::from_second(seconds).ok()), audiences })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(payload: &str) -> Option<Claims> {
        Claims::of(&format!("head.{}.signature", URL_SAFE_NO_PAD.encode(payload)))
    }

    #[test]
    fn end_and_audiences_are_read() {
        let ends = Some("2026-11-21T10:00:00Z".parse().unwrap());
        let audiences = vec!["kiam-server".to_owned()];
        for aud in [r#""kiam-server""#, r#"["kiam-server"]"#] {
            let read = claims(&format!(r#"{{"exp": 1795255200, "aud": {aud}, "sub": "x"}}"#));
            assert_eq!(read, Some(Claims { ends, audiences: audiences.clone() }), "{aud}");
        }
        assert_eq!(claims("{}"), Some(Claims { ends: None, audiences: Vec::new() }));
    }

    #[test]
    fn what_is_no_token_has_no_claims() {
        assert_eq!(claims("nonsense"), None);
        for text in ["", "a.b.c", "abc", "a..c"] {
            assert_eq!(Claims::of(text), None, "{text}");
        }
    }
}
