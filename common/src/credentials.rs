//! Temporary AWS credentials as STS gives them, and their form on the wire.

use jiff::Timestamp;
use kiam_proto::{EncodedCredentials, kiam};

use crate::role::RoleArn;
use crate::secret::Secret;
use zeroize::Zeroize as _;

/// Temporary credentials of one role session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// `ASIA…`; not a secret, AWS logs it.
    pub access_key_id: String,
    /// Signs requests.
    pub secret_access_key: Secret,
    /// Sent beside each request; its length has no documented maximum.
    pub session_token: Secret,
    /// When AWS stops accepting them, in STS's own words.
    pub expiration: Timestamp,
    /// When they were issued.
    pub last_updated: Timestamp,
}

/// Credentials of a role, and their form on the wire, made once for all who ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    /// The credentials.
    pub credentials: Credentials,
    /// What goes to an agent that asks.
    pub encoded: EncodedCredentials,
}

impl Issued {
    /// Credentials of `role`.
    pub fn new(credentials: Credentials, role: &RoleArn) -> Self {
        let mut wire = credentials.to_wire(role);
        let encoded = EncodedCredentials::from(&wire);
        wire.secret_access_key.zeroize();
        wire.token.zeroize();
        Self { credentials, encoded }
    }
}

/// The instant in the one form that every AWS SDK parses: UTC, whole seconds, `2006-01-02T15:04:05Z`.
pub fn format_timestamp(instant: Timestamp) -> String {
    instant.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

impl Credentials {
    /// What goes to an agent: credentials of `role`.
    pub fn to_wire(&self, role: &RoleArn) -> kiam::Credentials {
        kiam::Credentials {
            code: "Success".into(),
            r#type: "AWS-HMAC".into(),
            access_key_id: self.access_key_id.clone(),
            secret_access_key: self.secret_access_key.expose().into(),
            token: self.session_token.expose().into(),
            expiration: format_timestamp(self.expiration),
            last_updated: format_timestamp(self.last_updated),
            account_id: role.account_id().into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials() -> Credentials {
        Credentials {
            access_key_id: "ASIAEXAMPLE".into(),
            secret_access_key: Secret::new("wJalrXUtnFEMI".into()),
            session_token: Secret::new("FQoGZXIvYXdzE".into()),
            expiration: "2026-11-21T10:00:00.75Z".parse().unwrap(),
            last_updated: "2026-11-21T09:00:00Z".parse().unwrap(),
        }
    }

    #[test]
    fn the_wire_form_has_whole_seconds_in_utc() {
        let wire = credentials().to_wire(&RoleArn::parse("arn:aws:iam::123456789012:role/reader").unwrap());
        assert_eq!(wire.expiration, "2026-11-21T10:00:00Z");
        assert_eq!(wire.last_updated, "2026-11-21T09:00:00Z");
        assert_eq!((wire.code.as_str(), wire.r#type.as_str()), ("Success", "AWS-HMAC"));
        assert_eq!(wire.secret_access_key, "wJalrXUtnFEMI");
        assert_eq!(wire.token, "FQoGZXIvYXdzE");
        assert_eq!(wire.account_id, "123456789012");
    }

    #[test]
    fn debug_shows_no_secret() {
        let shown = format!("{:?}", credentials());
        assert!(shown.contains("ASIAEXAMPLE"));
        assert!(!shown.contains("wJalrXUtnFEMI") && !shown.contains("FQoGZXIvYXdzE"), "{shown}");
    }
}
