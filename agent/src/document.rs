//! The credential document of the instance metadata service, rendered of what a server sent: the one place of the
//! agent that writes secrets out. Called by `http/imds.rs` for answers to calls, and by `sync/decode.rs` for the ledger.
//!
//! What must always hold: the bytes are wiped when the last answer that shares them is sent, and so is what they were
//! made of; no half-written copy is left behind.

use std::io;

use bytes::Bytes;
use kiam_proto::kiam;
use serde::Serialize;
use zeroize::{Zeroize as _, Zeroizing};

/// What the server called credentials has no key, secret, token or end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server answered incomplete credentials")]
pub(crate) struct Incomplete;

/// Both documents of one role session.
#[derive(Clone)]
pub(crate) struct Documents {
    /// For `security-credentials`.
    pub(crate) plain: Bytes,
    /// For `security-credentials-extended`, which names the account too.
    pub(crate) extended: Bytes,
}

/// Renders one document.
pub(crate) fn render(credentials: kiam::Credentials, extended: bool) -> Result<Bytes, Incomplete> {
    Received(credentials).document(extended)
}

/// Renders both.
pub(crate) fn render_both(credentials: kiam::Credentials) -> Result<Documents, Incomplete> {
    let received = Received(credentials);
    Ok(Documents { plain: received.document(false)?, extended: received.document(true)? })
}

/// What a server sent, wiped once it is rendered.
struct Received(kiam::Credentials);

impl Drop for Received {
    fn drop(&mut self) {
        self.0.secret_access_key.zeroize();
        self.0.token.zeroize();
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Document<'c> {
    code: &'c str,
    last_updated: &'c str,
    r#type: &'c str,
    access_key_id: &'c str,
    secret_access_key: &'c str,
    token: &'c str,
    expiration: &'c str,
    #[serde(skip_serializing_if = "Option::is_none")]
    account_id: Option<&'c str>,
}

impl Received {
    fn document(&self, extended: bool) -> Result<Bytes, Incomplete> {
        let kiam::Credentials {
            code,
            r#type,
            access_key_id,
            secret_access_key,
            token,
            expiration,
            last_updated,
            account_id,
        } = &self.0;
        if [access_key_id, secret_access_key, token, expiration].into_iter().any(String::is_empty) {
            return Err(Incomplete);
        }
        // A Kiam v4 server does not say which account it is; SDKs can do without.
        let account_id = Some(account_id.as_str()).filter(|account_id| extended && !account_id.is_empty());
        write(&Document { code, last_updated, r#type, access_key_id, secret_access_key, token, expiration, account_id })
    }
}

/// Writes into exactly the room that is needed: a buffer that grows leaves its old, unwiped bytes behind.
fn write(document: &Document<'_>) -> Result<Bytes, Incomplete> {
    let mut length = Length(0);
    serde_json::to_writer(&mut length, document).map_err(|_| Incomplete)?;
    let mut text = Zeroizing::new(Vec::with_capacity(length.0));
    serde_json::to_writer(&mut *text, document).map_err(|_| Incomplete)?;
    Ok(Bytes::from_owner(text))
}

/// Counts what is written to it.
struct Length(usize);

impl io::Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials() -> kiam::Credentials {
        kiam::Credentials {
            code: "Success".into(),
            r#type: "AWS-HMAC".into(),
            access_key_id: "ASIAEXAMPLE".into(),
            secret_access_key: "wJalr\"XUtnFEMI".into(),
            token: "FQoGZXIvYXdzE".into(),
            expiration: "2026-11-21T10:00:00Z".into(),
            last_updated: "2026-11-21T09:00:00Z".into(),
            account_id: "123456789012".into(),
        }
    }

    fn text(credentials: kiam::Credentials, extended: bool) -> String {
        String::from_utf8(render(credentials, extended).unwrap().to_vec()).unwrap()
    }

    #[test]
    fn a_document_has_exactly_the_services_fields() {
        let wanted = concat!(
            r#"{"Code":"Success","LastUpdated":"2026-11-21T09:00:00Z","Type":"AWS-HMAC","AccessKeyId":"ASIAEXAMPLE","#,
            r#""SecretAccessKey":"wJalr\"XUtnFEMI","Token":"FQoGZXIvYXdzE","Expiration":"2026-11-21T10:00:00Z"}"#,
        );
        assert_eq!(text(credentials(), false), wanted);
    }

    #[test]
    fn the_extended_document_names_the_account_too() {
        let extended = text(credentials(), true);
        assert!(extended.ends_with(r#","AccountId":"123456789012"}"#), "{extended}");
        let both = render_both(credentials()).unwrap();
        assert_eq!((both.plain, both.extended), (text(credentials(), false).into(), extended.into()));
    }

    #[test]
    fn an_account_that_the_server_does_not_name_is_left_out() {
        assert!(!text(kiam::Credentials { account_id: String::new(), ..credentials() }, true).contains("AccountId"));
    }

    #[test]
    fn incomplete_credentials_are_never_handed_out() {
        for incomplete in [
            kiam::Credentials { access_key_id: String::new(), ..credentials() },
            kiam::Credentials { secret_access_key: String::new(), ..credentials() },
            kiam::Credentials { token: String::new(), ..credentials() },
            kiam::Credentials { expiration: String::new(), ..credentials() },
        ] {
            assert_eq!(render(incomplete, false), Err(Incomplete));
        }
    }

    #[test]
    fn a_document_takes_exactly_the_room_that_was_made_for_it() {
        let mut length = Length(0);
        serde_json::to_writer(&mut length, "a \"quoted\" text").unwrap();
        assert_eq!(length.0, serde_json::to_vec("a \"quoted\" text").unwrap().len());
    }
}
