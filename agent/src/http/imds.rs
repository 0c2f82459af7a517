//! What the instance metadata service would answer, answered for the pod: the name of its role, the role's
//! credentials, session tokens. Called by `http/mod.rs` with requests that `guard.rs` let through.
//!
//! What must always hold: the server decides what a pod may have; nothing here grants anything by itself.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use kiam_common::reason::{Reason, Refusal};
use kiam_proto::kiam;
use serde::Serialize;
use tokio::time::Instant;

use super::body::{self, Body};
use super::flights::{Flights, Wanted};
use super::token::{Mint, TOKEN_HEADER, TTL_HEADER, Tokens, Ttl};
use crate::error::Error;
use crate::metrics::Metrics;
use crate::unary::Server;

/// How long a pod's request may take, waiting for a pod that the server has yet to hear of included.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_secs(5);

const FORWARDED_FOR: &str = "x-forwarded-for";

/// Answers in the instance metadata service's place.
pub(crate) struct Imds {
    /// Who decides.
    pub(crate) server: Arc<dyn Server>,
    /// The documents that are being fetched.
    pub(crate) flights: Arc<Flights>,
    /// Whether pods must present session tokens.
    pub(crate) tokens: Tokens,
    /// Where session tokens come from.
    pub(crate) mint: Mint,
    /// Kiam's counters.
    pub(crate) metrics: Arc<Metrics>,
}

impl Imds {
    /// `PUT /latest/api/token`: a token for this pod.
    pub(crate) fn token(&self, pod: IpAddr, headers: &HeaderMap) -> Result<Response<Body>, Error> {
        if headers.contains_key(FORWARDED_FOR) {
            return Err(Error::Forwarded);
        }
        let ttl = headers.get(TTL_HEADER).and_then(|value| Ttl::parse(value.to_str().ok()?)).ok_or(Error::TokenTtl)?;
        let mut response = body::response(StatusCode::OK, body::TEXT, self.mint.issue(pod, ttl));
        response.headers_mut().insert(HeaderName::from_static(TTL_HEADER), HeaderValue::from(ttl.seconds()));
        Ok(response)
    }

    /// Judges the token that a request presents; one without any is served as IMDSv1 does, unless tokens are required.
    pub(crate) fn check_token(&self, pod: IpAddr, headers: &HeaderMap) -> Result<(), Error> {
        let Some(token) = headers.get(TOKEN_HEADER) else {
            return match self.tokens {
                Tokens::Optional => Ok(()),
                Tokens::Required => Err(Error::TokenMissing),
            };
        };
        if headers.contains_key(FORWARDED_FOR) {
            return Err(Error::Forwarded);
        }
        if self.mint.accepts(token.as_bytes(), pod) { Ok(()) } else { Err(Error::Token) }
    }

    /// The list of credentials: the name of the one role that the pod has.
    pub(crate) async fn role_name(&self, pod: IpAddr) -> Result<Response<Body>, Error> {
        let name = self.server.role(pod, deadline()).await.inspect_err(|_| self.metrics.find_role_errors.inc())?;
        if name.is_empty() {
            self.metrics.empty_role.inc();
            let message = "the pod has no role annotation".to_owned();
            return Err(Refusal { reason: Reason::NoRole, message, aws_code: None }.into());
        }
        Ok(body::response(StatusCode::OK, body::TEXT, name))
    }

    /// A role's credentials. The extended document names the account too.
    pub(crate) async fn credentials(&self, pod: IpAddr, role: &str, extended: bool) -> Result<Response<Body>, Error> {
        let server = self.server.clone();
        let fetch = |wanted: Wanted| async move {
            let credentials = server.credentials(pod, &wanted.role, deadline()).await?;
            document(&credentials, &wanted)
        };
        let document = self.flights.join(pod, Wanted { role: role.to_owned(), extended }, fetch);
        match document.await {
            Ok(document) => Ok(body::response(StatusCode::OK, body::JSON, document)),
            Err(Error::IncompleteCredentials) => {
                self.metrics.credential_encode_errors.inc();
                Err(Error::IncompleteCredentials)
            }
            Err(error) => {
                self.metrics.credential_fetch_errors.inc();
                Err(error)
            }
        }
    }

    /// Whether a server can be reached and calls itself healthy.
    pub(crate) async fn check_server(&self) -> Result<(), Error> {
        match self.server.health(deadline()).await? {
            message if message == "ok" => Ok(()),
            message => Err(Error::ServerUnwell(message)),
        }
    }
}

fn deadline() -> Instant {
    Instant::now() + ANSWER_WITHIN
}

/// The credential document of the instance metadata service.
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

/// Renders what the server gave; the one place that writes secrets out.
fn document(credentials: &kiam::Credentials, wanted: &Wanted) -> Result<Bytes, Error> {
    let kiam::Credentials {
        code,
        r#type,
        access_key_id,
        secret_access_key,
        token,
        expiration,
        last_updated,
        account_id,
    } = credentials;
    if [access_key_id, secret_access_key, token, expiration].into_iter().any(String::is_empty) {
        return Err(Error::IncompleteCredentials);
    }
    // A Kiam v4 server does not say which account it is; SDKs can do without.
    let account_id = Some(account_id.as_str()).filter(|account_id| wanted.extended && !account_id.is_empty());
    let document =
        Document { code, last_updated, r#type, access_key_id, secret_access_key, token, expiration, account_id };
    serde_json::to_vec(&document).map(Bytes::from).map_err(|_| Error::IncompleteCredentials)
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

    fn wanted(role: &str, extended: bool) -> Wanted {
        Wanted { role: role.into(), extended }
    }

    fn text(role: &str, extended: bool) -> String {
        String::from_utf8(document(&credentials(), &wanted(role, extended)).unwrap().to_vec()).unwrap()
    }

    #[test]
    fn a_document_has_exactly_the_services_fields() {
        let wanted = concat!(
            r#"{"Code":"Success","LastUpdated":"2026-11-21T09:00:00Z","Type":"AWS-HMAC","AccessKeyId":"ASIAEXAMPLE","#,
            r#""SecretAccessKey":"wJalr\"XUtnFEMI","Token":"FQoGZXIvYXdzE","Expiration":"2026-11-21T10:00:00Z"}"#,
        );
        assert_eq!(text("reader", false), wanted);
    }

    #[test]
    fn the_extended_document_names_the_account_too() {
        assert!(!text("reader", false).contains("AccountId"));
        let extended = text("reader", true);
        assert!(extended.ends_with(r#","AccountId":"123456789012"}"#), "{extended}");
    }

    #[test]
    fn an_account_that_the_server_does_not_name_is_left_out() {
        let unnamed = kiam::Credentials { account_id: String::new(), ..credentials() };
        let document = document(&unnamed, &wanted("reader", true)).unwrap();
        assert!(!String::from_utf8_lossy(&document).contains("AccountId"));
    }

    #[test]
    fn incomplete_credentials_are_never_handed_out() {
        for incomplete in [
            kiam::Credentials { access_key_id: String::new(), ..credentials() },
            kiam::Credentials { secret_access_key: String::new(), ..credentials() },
            kiam::Credentials { token: String::new(), ..credentials() },
            kiam::Credentials { expiration: String::new(), ..credentials() },
        ] {
            assert_eq!(document(&incomplete, &wanted("reader", false)), Err(Error::IncompleteCredentials));
        }
    }
}
