//! The HTTP listener that every emulator stands on: one address on loopback, one task for each connection, and all of
//! it gone when the handle is dropped.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

/// What a stream of answers breaks off with: the connection is closed in the middle.
pub type Broken = Box<dyn std::error::Error + Send + Sync>;

/// The body of an emulator's answer.
pub type Body = UnsyncBoxBody<Bytes, Broken>;

/// An answer, or none: then the connection is reset.
pub type Answer = Option<Response<Body>>;

/// An emulator's behaviour.
pub trait Handler: Send + Sync + 'static {
    /// Answers one request.
    fn answer(self: Arc<Self>, request: Request<Incoming>) -> impl Future<Output = Answer> + Send;
}

/// A listening emulator; dropping it closes the port and every connection, some moments later.
#[derive(Debug)]
pub struct Listening {
    addr: SocketAddr,
    /// Dropped to have the port and every connection closed.
    open: oneshot::Sender<()>,
    accepting: AbortOnDropHandle<()>,
}

impl Listening {
    /// Serves `handler` on `addr`, which is 127.0.0.1:0 for any free port.
    pub async fn start(addr: SocketAddr, handler: Arc<impl Handler>) -> io::Result<Self> {
        let listener = TcpListener::bind(addr).await?;
        let addr = listener.local_addr()?;
        let (open, closed) = oneshot::channel();
        let accepting = AbortOnDropHandle::new(tokio::spawn(accept(listener, handler, closed)));
        Ok(Self { addr, open, accepting })
    }

    /// Closes the port and every connection: once this returns, nobody is told anything any more.
    pub async fn close(self) {
        drop(self.open);
        self.accepting.await.expect("no handler panics");
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// `http://host:port`.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }
}

async fn accept(listener: TcpListener, handler: Arc<impl Handler>, mut closed: oneshot::Receiver<()>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = &mut closed => break,
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    connections.spawn(serve(stream, Arc::clone(&handler)));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    connections.shutdown().await;
}

async fn serve(stream: TcpStream, handler: Arc<impl Handler>) {
    let service = service_fn(move |request| {
        let handler = Arc::clone(&handler);
        async move { handler.answer(request).await.ok_or("the emulator resets this connection") }
    });
    let mut connection = http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
    let outcome = (&mut connection).await;
    if outcome.is_err_and(|error| error.is_user()) {
        let stream = connection.into_parts().io.into_inner();
        // With no lingering, closing sends RST instead of FIN.
        let _ = stream.set_zero_linger();
    }
}

/// An answer with a whole body.
pub fn answer(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(whole(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// A body that is all there.
pub fn whole(body: impl Into<Bytes>) -> Body {
    Full::new(body.into()).map_err(|never: Infallible| match never {}).boxed_unsync()
}

/// A text of `length` random characters out of `alphabet`, whose length must divide 256 for them to be equally likely.
pub fn random_text(alphabet: &[u8], length: usize) -> String {
    let mut bytes = vec![0; length];
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut bytes).expect("the system has randomness");
    bytes.iter().map(|byte| char::from(alphabet[usize::from(*byte) % alphabet.len()])).collect()
}

/// 32 characters that make access keys.
pub const BASE32: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// 64 characters that make secrets and tokens.
pub const BASE64: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
