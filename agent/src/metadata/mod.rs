//! The instance metadata service behind the agent, asked with the agent's own IMDSv2 session. Called by
//! `http/proxy.rs` with canonical paths.
//!
//! What must always hold: a request has the agent's headers only, and an answer is whole: one that breaks off, is
//! late or is too long is an error.

mod target;

use std::time::Duration;

use bytes::Bytes;
use http::uri::Scheme;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::{Mutex, Semaphore};
use tokio::time::{Instant, timeout};

pub use target::Endpoint;

use crate::error::Error;
use crate::http::token::{TOKEN_HEADER, TTL_HEADER, Ttl};

/// How long connecting may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(1);
/// How long a pod's request may take, a new session included.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
/// How long a connection may be idle before it is closed.
const IDLE_FOR: Duration = Duration::from_secs(10);
/// How long opening a session may take. The service's answer to that may have a hop limit too low to get here, and
/// then never comes; what needs no session is asked for without.
const SESSION_WITHIN: Duration = Duration::from_secs(1);
/// The longest answer, in bytes; the service's own limit for user data is 16 KiB.
const BODY_MAX: usize = 128 * 1024;
/// Calls at a time; more wait, as long as they may take. The service slows down whoever asks much.
const CALLS_MAX: usize = 16;
/// The life asked for a session, in seconds: six hours.
const SESSION_LIFE: u16 = 21_600;
/// A session is renewed when this much of it is left.
const RENEW_BEFORE: Duration = Duration::from_mins(1);
/// How long a service that gives no sessions is believed.
const WITHOUT_FOR: Duration = Duration::from_mins(1);
/// The headers of an answer that are passed on.
const PASSED_ON: [HeaderName; 4] = [header::CONTENT_TYPE, header::LOCATION, header::LAST_MODIFIED, header::ETAG];

/// A client of the instance metadata service.
pub(crate) struct MetadataService {
    client: Client<HttpConnector, Empty<Bytes>>,
    endpoint: Endpoint,
    session: Mutex<Session>,
    calls: Semaphore,
}

/// The agent's standing with the service.
#[derive(Clone)]
enum Session {
    /// Not asked for yet.
    None,
    /// Given, and good until it is renewed.
    Token { value: HeaderValue, renew_at: Instant },
    /// The service gives none (IMDSv1 only); asked again later.
    Without { until: Instant },
}

impl MetadataService {
    /// A client; nothing is connected yet.
    pub(crate) fn new(endpoint: Endpoint) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_WITHIN));
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_FOR)
            .build(connector);
        Self { client, endpoint, session: Mutex::new(Session::None), calls: Semaphore::new(CALLS_MAX) }
    }

    /// The service's answer to a canonical path: any status but 401, which would be the agent's fault.
    pub(crate) async fn get(&self, path: &str, query: Option<&str>) -> Result<Response<Bytes>, Error> {
        timeout(ANSWER_WITHIN, self.get_in_session(path, query)).await.map_err(|_| Error::MetadataTimeout)?
    }

    async fn get_in_session(&self, path: &str, query: Option<&str>) -> Result<Response<Bytes>, Error> {
        // Nobody closes the semaphore, so there always is a permit.
        let _permit = self.calls.acquire().await;
        let target = target::encode(path, query);
        let session = self.session().await?;
        let answer = self.get_once(&target, session.as_ref()).await?;
        if answer.status() != StatusCode::UNAUTHORIZED {
            return Ok(answer);
        }
        self.forget(session.as_ref()).await;
        let answer = self.get_once(&target, self.session().await?.as_ref()).await?;
        match answer.status() {
            StatusCode::UNAUTHORIZED => Err(Error::MetadataStatus(StatusCode::UNAUTHORIZED.as_u16())),
            _ => Ok(answer),
        }
    }

    async fn get_once(&self, target: &str, token: Option<&HeaderValue>) -> Result<Response<Bytes>, Error> {
        let token = token.map(|token| (HeaderName::from_static(TOKEN_HEADER), token.clone()));
        let (parts, body) = self.send(Method::GET, target, token).await?.into_parts();
        let passed_on = |name: HeaderName| Some((name.clone(), parts.headers.get(name)?.clone()));
        let mut answer = Response::new(body);
        *answer.status_mut() = parts.status;
        *answer.headers_mut() = PASSED_ON.into_iter().filter_map(passed_on).collect();
        Ok(answer)
    }

    /// The token to present, if the service gives any. One caller asks for it, the others wait.
    async fn session(&self) -> Result<Option<HeaderValue>, Error> {
        let mut session = self.session.lock().await;
        match &*session {
            Session::Token { value, renew_at } if Instant::now() < *renew_at => return Ok(Some(value.clone())),
            Session::Without { until } if Instant::now() < *until => return Ok(None),
            Session::None | Session::Token { .. } | Session::Without { .. } => {}
        }
        *session = self.open_session().await?;
        match &*session {
            Session::Token { value, .. } => Ok(Some(value.clone())),
            Session::None | Session::Without { .. } => Ok(None),
        }
    }

    async fn open_session(&self) -> Result<Session, Error> {
        let ttl = (HeaderName::from_static(TTL_HEADER), HeaderValue::from(SESSION_LIFE));
        let without = Session::Without { until: Instant::now() + WITHOUT_FOR };
        let Ok(answer) = timeout(SESSION_WITHIN, self.send(Method::PUT, "/latest/api/token", Some(ttl))).await else {
            return Ok(without);
        };
        let answer = answer?;
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::FORBIDDEN | StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => {
                return Ok(without);
            }
            status => return Err(Error::MetadataStatus(status.as_u16())),
        }
        let life = life(answer.headers());
        let mut value = HeaderValue::from_maybe_shared(answer.into_body()).map_err(|_| Error::MetadataUnreachable)?;
        value.set_sensitive(true);
        Ok(Session::Token { value, renew_at: Instant::now() + life.saturating_sub(RENEW_BEFORE) })
    }

    /// Drops a token that the service no longer takes, unless it has been replaced meanwhile.
    async fn forget(&self, token: Option<&HeaderValue>) {
        let mut session = self.session.lock().await;
        let known = match &*session {
            Session::Token { value, .. } => Some(value),
            Session::None | Session::Without { .. } => None,
        };
        if known == token {
            *session = Session::None;
        }
    }

    async fn send(
        &self,
        method: Method,
        target: &str,
        header: Option<(HeaderName, HeaderValue)>,
    ) -> Result<Response<Bytes>, Error> {
        let uri =
            Uri::builder().scheme(Scheme::HTTP).authority(self.endpoint.authority().clone()).path_and_query(target);
        let mut request = Request::new(Empty::new());
        *request.method_mut() = method;
        *request.uri_mut() = uri.build().map_err(|_| Error::NotAllowed)?;
        request.headers_mut().insert(
            header::USER_AGENT,
            HeaderValue::from_static(concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"))),
        );
        request.headers_mut().extend(header);
        let unreachable = |_| Error::MetadataUnreachable;
        let (parts, body) = self.client.request(request).await.map_err(unreachable)?.into_parts();
        let body = Limited::new(body, BODY_MAX).collect().await.map_err(|_| Error::MetadataUnreachable)?;
        Ok(Response::from_parts(parts, body.to_bytes()))
    }
}

/// How long the service lets a session live, by its own word.
fn life(headers: &HeaderMap) -> Duration {
    let ttl = headers.get(TTL_HEADER).and_then(|value| Ttl::parse(value.to_str().ok()?));
    Duration::from_secs(ttl.map_or(SESSION_LIFE, Ttl::seconds).into())
}

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;
