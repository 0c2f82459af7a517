//! When a token says that it ends. Read without checking the signature, and so to be believed only of a token that a
//! review has found good.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde::Deserialize;

#[derive(Deserialize)]
struct Claims {
    exp: i64,
}

/// The `exp` claim of a JSON Web Token (RFC 7519); none if this is not one, or one without an end.
pub(super) fn of(token: &str) -> Option<Timestamp> {
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let claims: Claims = serde_json::from_slice(&payload).ok()?;
    Timestamp::from_second(claims.exp).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_read_from_the_claims() {
        let token = |claims: &str| format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims));
        assert_eq!(of(&token(r#"{"iss":"x","exp":1795255200}"#)), Timestamp::from_second(1_795_255_200).ok());
        for other in [&*token(r#"{"iss":"x"}"#), &token(r#"{"exp":"soon"}"#), &token("{"), "", "a.b.c", "e30", "."] {
            assert_eq!(of(other), None, "{other}");
        }
    }
}
