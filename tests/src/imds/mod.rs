//! An instance metadata service on loopback, of a node whose own role must never reach a pod.
//!
//! Session tokens follow EC2's rules; every request is recorded as it came, so that a test can say that nothing under
//! `iam/` was ever asked for.

mod data;
mod token;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use http::{HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;

pub use data::{INSTANCE_ID, NODE_ROLE, NODE_SECRET};

use crate::loopback::{Answer, Body, Handler, Listening, answer};
use token::{TTL_HEADER, Tokens};

/// One request as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The method.
    pub method: Method,
    /// Path and query, undecoded.
    pub target: String,
    /// Header names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// What was answered.
    pub status: StatusCode,
}

/// A running instance metadata service.
#[derive(Debug)]
pub struct Imds {
    listening: Listening,
    service: Arc<Service>,
}

#[derive(Debug, Default)]
struct Service {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    tokens: Tokens,
    tokens_required: bool,
    failing_with: Option<StatusCode>,
    seen: Vec<Seen>,
}

impl Imds {
    /// Starts on any free port of 127.0.0.1, answering with and without a session token.
    pub async fn start() -> io::Result<Self> {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    /// Starts on an address.
    pub async fn start_at(addr: SocketAddr) -> io::Result<Self> {
        let service = Arc::new(Service::default());
        let listening = Listening::start(addr, Arc::clone(&service)).await?;
        Ok(Self { listening, service })
    }

    /// What goes into `AWS_EC2_METADATA_SERVICE_ENDPOINT`.
    pub fn url(&self) -> String {
        self.listening.url()
    }

    /// `HttpTokens=required`: a GET without a session token is refused.
    pub fn require_tokens(&self, required: bool) {
        self.state().tokens_required = required;
    }

    /// Answers everything with this status, until told `None`.
    pub fn fail_with(&self, status: Option<StatusCode>) {
        self.state().failing_with = status;
    }

    /// Every request so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.state().seen.clone()
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.service.state.lock().expect("no holder panics")
    }
}

impl Handler for Service {
    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Answer {
        let mut state = self.state.lock().expect("no holder panics");
        let response = respond(&mut state, &request);
        state.seen.push(Seen {
            method: request.method().clone(),
            target: request.uri().path_and_query().map_or_else(String::new, ToString::to_string),
            headers: request
                .headers()
                .iter()
                .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
                .collect(),
            status: response.status(),
        });
        Some(response)
    }
}

fn respond(state: &mut State, request: &Request<Incoming>) -> Response<Body> {
    if let Some(status) = state.failing_with {
        return refuse(status);
    }
    let path = request.uri().path();
    if *request.method() == Method::PUT {
        return match state.tokens.mint(path, request.headers()) {
            Ok((token, ttl)) => {
                let mut response = answer(StatusCode::OK, "text/plain", token);
                response.headers_mut().insert(TTL_HEADER, HeaderValue::from(ttl));
                response
            }
            Err(status) => refuse(status),
        };
    }
    if *request.method() != Method::GET && *request.method() != Method::HEAD {
        return refuse(StatusCode::METHOD_NOT_ALLOWED);
    }
    if let Err(status) = state.tokens.judge(request.headers(), state.tokens_required) {
        return refuse(status);
    }
    match data::find(path) {
        Some(text) => answer(StatusCode::OK, "text/plain", text),
        None => refuse(StatusCode::NOT_FOUND),
    }
}

fn refuse(status: StatusCode) -> Response<Body> {
    let reason = status.canonical_reason().unwrap_or_default();
    let page = format!(
        "<?xml version=\"1.0\" encoding=\"iso-8859-1\"?>\n<html><head><title>{code} - {reason}</title></head>\
         <body><h1>{code} - {reason}</h1></body></html>\n",
        code = status.as_u16()
    );
    answer(status, "text/html", page)
}
