//! Bearer tokens, as they stand in an `authorization` header.

/// The scheme of RFC 6750, in any case.
const SCHEME: &str = "bearer ";

/// The token in a header's value; none if that is of another scheme.
pub fn token(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_at_checked(SCHEME.len())?;
    scheme.eq_ignore_ascii_case(SCHEME).then(|| token.trim())
}

#[cfg(test)]
mod tests {
    use super::token;

    #[test]
    fn a_token_is_what_follows_the_scheme() {
        assert_eq!(token("Bearer a.b.c"), Some("a.b.c"));
        assert_eq!(token("bearer  a.b.c"), Some("a.b.c"));
        for other in ["a.b.c", "Basic a.b.c", "Bearer", ""] {
            assert_eq!(token(other), None, "{other}");
        }
    }
}
