//! An instance metadata service on loopback that answers as a test says and remembers every byte it was sent.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use http::{HeaderMap, Method};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::*;

/// One request that arrived.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// How the service answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// IMDSv2 only: 401 without the session token that it gave last.
    V2,
    /// IMDSv1 only: 404 to token requests.
    V1,
    /// This status to all but token requests.
    Status(u16),
    /// This status to token requests.
    TokenStatus(u16),
    /// Never, to all but token requests.
    Hang,
    /// Never, to token requests.
    TokenHang,
    /// A body of this many bytes.
    Body(usize),
}

/// The service.
pub(crate) struct FakeMetadata {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
}

struct State {
    mode: Mutex<Mode>,
    seen: Mutex<Vec<Seen>>,
    tokens: Mutex<usize>,
}

impl FakeMetadata {
    pub(crate) async fn start(mode: Mode) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State { mode: Mutex::new(mode), seen: Mutex::default(), tokens: Mutex::default() });
        let serving = state.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let state = serving.clone();
                let service = service_fn(move |request| answer(state.clone(), request));
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { address, state }
    }

    pub(crate) fn client(&self) -> MetadataService {
        MetadataService::new(Endpoint::parse(&format!("http://{}", self.address)).unwrap())
    }

    pub(crate) fn behave(&self, mode: Mode) {
        *self.state.mode.lock().unwrap() = mode;
    }

    /// Ends every session that was given.
    pub(crate) fn end_sessions(&self) {
        *self.state.tokens.lock().unwrap() += 100;
    }

    /// Everything that arrived.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.state.seen.lock().unwrap().clone()
    }

    /// The targets of everything that arrived but token requests.
    pub(crate) fn targets(&self) -> Vec<String> {
        self.seen().into_iter().filter(|seen| seen.method != Method::PUT).map(|seen| seen.target).collect()
    }
}

async fn answer(state: Arc<State>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let seen = Seen { method: head.method, target: head.uri.to_string(), headers: head.headers, body };
    state.seen.lock().unwrap().push(seen.clone());
    let mode = *state.mode.lock().unwrap();
    if seen.method == Method::PUT {
        if mode == Mode::TokenHang {
            std::future::pending::<()>().await;
        }
        return Ok(state.token(mode));
    }
    let token = format!("session-{}", *state.tokens.lock().unwrap());
    let text = |status: u16, body: Vec<u8>| {
        let response = Response::builder().status(status).header("content-type", "text/plain").header("x-own", "1");
        Ok(response.body(Full::from(body)).unwrap())
    };
    match mode {
        Mode::V2 if seen.headers.get(TOKEN_HEADER).is_none_or(|given| given != token.as_str()) => text(401, vec![]),
        Mode::V2 | Mode::V1 | Mode::TokenStatus(_) | Mode::TokenHang => text(200, b"i-0123456789abcdef0".to_vec()),
        Mode::Status(status) => text(status, vec![]),
        Mode::Hang => std::future::pending().await,
        Mode::Body(length) => text(200, vec![b'x'; length]),
    }
}

impl State {
    fn token(&self, mode: Mode) -> Response<Full<Bytes>> {
        let mut tokens = self.tokens.lock().unwrap();
        *tokens += 1;
        let (status, body) = match mode {
            Mode::V1 => (404, String::new()),
            Mode::TokenStatus(status) => (status, String::new()),
            Mode::V2 | Mode::Status(_) | Mode::Hang | Mode::TokenHang | Mode::Body(_) => {
                (200, format!("session-{tokens}"))
            }
        };
        Response::builder().status(status).header(TTL_HEADER, "21600").body(Full::from(body)).unwrap()
    }
}
