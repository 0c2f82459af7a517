//! What the instance metadata service would answer, answered for the pod: the name of its role, the role's
//! credentials, session tokens. Called by `http/mod.rs` with requests that `guard.rs` let through.
//!
//! What must always hold: the server decides what a pod may have, by the ledger that it supplies or by the answer to a
//! call; nothing here grants anything by itself.

use std::future::Future;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use kiam_common::reason::{Reason, Refusal};
use tokio::time::{Instant, sleep, timeout_at};

use super::body::{self, Body};
use super::flights::{Flights, Wanted};
use super::token::{Mint, TOKEN_HEADER, TTL_HEADER, Tokens, Ttl};
use crate::document;
use crate::error::Error;
use crate::ledger::{Found, Ledger};
use crate::metrics::{Handler, Metrics, Source};
use crate::unary::{Answered, Server};

/// How long a pod's request may take, waiting for a pod that the server has yet to hear of included.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// The pause before a server that lags is asked again.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(250);

const FORWARDED_FOR: &str = "x-forwarded-for";

/// Answers in the instance metadata service's place.
pub(crate) struct Imds {
    /// What pods may have, as far as the server has said.
    pub(crate) ledger: Arc<Ledger>,
    /// Who decides what the ledger does not say.
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
        let look = || self.ledger.role_name(pod);
        let ask = |deadline| async move {
            let name = confirmed(&self.ledger, pod, deadline, || self.server.role(pod, deadline)).await?;
            if name.is_empty() { Err(no_role().into()) } else { Ok(Bytes::from(name)) }
        };
        let name =
            self.answer(Handler::RoleName, look, ask).await.inspect_err(|error| self.count_missing_role(error))?;
        Ok(body::response(StatusCode::OK, body::TEXT, name))
    }

    fn count_missing_role(&self, error: &Error) {
        match error {
            Error::Refused(Refusal { reason: Reason::NoRole, .. }) => self.metrics.empty_role.inc(),
            _ => self.metrics.find_role_errors.inc(),
        }
    }

    /// A role's credentials. The extended document names the account too.
    pub(crate) async fn credentials(&self, pod: IpAddr, role: &str, extended: bool) -> Result<Response<Body>, Error> {
        let look = || self.ledger.credentials(pod, role, extended);
        let ask = |deadline| {
            let (server, ledger) = (self.server.clone(), self.ledger.clone());
            let fetch = move |wanted: Wanted| async move {
                let ask = || server.credentials(pod, &wanted.role, deadline);
                let credentials = confirmed(&ledger, pod, deadline, ask).await?;
                Ok(document::render(credentials, wanted.extended)?)
            };
            self.flights.join(pod, Wanted { role: role.to_owned(), extended }, fetch)
        };
        let document = self.answer(Handler::Credentials, look, ask).await.inspect_err(|error| match error {
            Error::IncompleteCredentials(_) => self.metrics.credential_encode_errors.inc(),
            _ => self.metrics.credential_fetch_errors.inc(),
        })?;
        Ok(body::response(StatusCode::OK, body::JSON, document))
    }

    /// What the ledger finds, or else what the server says, whichever is first.
    async fn answer<F>(
        &self,
        handler: Handler,
        look: impl Fn() -> Found,
        ask: impl FnOnce(Instant) -> F,
    ) -> Result<Bytes, Error>
    where
        F: Future<Output = Result<Bytes, Error>>,
    {
        // Nearly every request ends here.
        if let Found::Held(answer) = look() {
            self.metrics.answered_from(Source::Ledger);
            return Ok(answer);
        }
        let deadline = deadline();
        let mut changes = self.ledger.changes();
        let mut asking = pin!(async { ask(deadline).await });
        let mut waiting = None;
        loop {
            changes.borrow_and_update();
            let found = look();
            match found {
                Found::Held(answer) => {
                    self.metrics.answered_from(Source::Ledger);
                    return Ok(answer);
                }
                Found::Refused(refusal) => {
                    self.metrics.answered_from(Source::Ledger);
                    return Err(refusal.into());
                }
                Found::Unconfirmed => {
                    waiting.get_or_insert_with(|| self.metrics.waiting(handler));
                    timeout_at(deadline, changes.changed()).await.map_err(|_| unconfirmed())?.ok();
                }
                Found::AskServer | Found::Stale => {
                    waiting.get_or_insert_with(|| self.metrics.waiting(handler));
                    tokio::select! {
                        answer = &mut asking => {
                            self.metrics.answered_from(Source::Server);
                            return answer.map_err(|error| if found == Found::Stale { stale(error) } else { error });
                        }
                        _ = changes.changed() => {}
                    }
                }
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

/// What a server says, unless the ledger doubts that it is of the pod that has the address: then the server lags, and is
/// asked again.
async fn confirmed<T, F>(ledger: &Ledger, pod: IpAddr, deadline: Instant, ask: impl Fn() -> F) -> Result<T, Refusal>
where
    F: Future<Output = Result<Answered<T>, Refusal>>,
{
    loop {
        let Answered { what, uid } = ask().await?;
        if !uid.is_some_and(|uid| ledger.doubts(pod, &uid)) {
            return Ok(what);
        }
        if deadline.duration_since(Instant::now()) < ASK_AGAIN_AFTER {
            return Err(unconfirmed());
        }
        sleep(ASK_AGAIN_AFTER).await;
    }
}

fn no_role() -> Refusal {
    let message = "the pod has no role annotation".to_owned();
    Refusal { reason: Reason::NoRole, message, aws_code: None }
}

fn unconfirmed() -> Refusal {
    let message = "another pod may have this address now; no server has said which".to_owned();
    Refusal { reason: Reason::Unconfirmed, message, aws_code: None }
}

/// Where no server could be asked, that is why what was known does not count.
fn stale(error: Error) -> Error {
    match error {
        Error::Refused(Refusal { reason: Reason::ServerUnreachable | Reason::ServerNotReady, message, .. }) => {
            let message = format!("what was known of this address is too old: {message}");
            Refusal { reason: Reason::Stale, message, aws_code: None }.into()
        }
        error => error,
    }
}

fn deadline() -> Instant {
    Instant::now() + ANSWER_WITHIN
}
