//! A small HTTP/1 server for pages that are read: bounded connections, deadlines for slow clients.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use crate::listen::PatientListener;
use crate::shutdown::Shutdown;
use crate::tls::{Identity, handshake};

/// The body of a page.
pub(super) type Page = Response<Full<Bytes>>;

/// How many clients have a connection at once.
const CONNECTIONS: usize = 64;
/// The longest time for the head of a request, and so between two requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection older than this is closed when it is between two requests…
const CONNECTION_AGE: Duration = Duration::from_mins(2);
/// …or this much later, so that a client that takes no answer holds nothing for long.
const LINGER: Duration = Duration::from_secs(5);

/// A page of plain text.
pub(super) fn text(status: StatusCode, body: impl Into<Bytes>) -> Page {
    page(status, HeaderValue::from_static("text/plain; charset=utf-8"), body)
}

/// A page of any type.
pub(super) fn page(status: StatusCode, content_type: HeaderValue, body: impl Into<Bytes>) -> Page {
    let mut page = Response::new(Full::new(body.into()));
    *page.status_mut() = status;
    page.headers_mut().insert(header::CONTENT_TYPE, content_type);
    page
}

/// How a request came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    /// Where it came to.
    pub(super) at: Option<SocketAddr>,
    /// Its client was asked for a certificate and showed none.
    pub(super) lacks_certificate: bool,
}

/// Answers every GET and HEAD on `listener`, over TLS if there is an identity, with what `pages` says for the request, until
/// `shutdown`; what is under way then is finished first.
pub(super) async fn serve<P, F>(listener: TcpListener, identity: Option<Arc<Identity>>, shutdown: Shutdown, pages: P)
where
    P: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Page> + Send + 'static,
{
    let (listener, mut clients) = (PatientListener::new(listener), Clients::default());
    loop {
        let (tcp, peer) = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.begun() => break,
        };
        let (identity, pages, shutdown) = (identity.clone(), pages.clone(), shutdown.clone());
        let at = tcp.local_addr().ok();
        clients.admit(async move {
            match identity {
                None => connection(tcp, Arrival { at, lacks_certificate: false }, shutdown, pages).await,
                Some(identity) => {
                    let acceptor = TlsAcceptor::from(identity.server_config());
                    let Some(tls) = handshake(acceptor, tcp, peer).await else { return };
                    let is_known = tls.get_ref().1.peer_certificates().is_some();
                    let arrival = Arrival { at, lacks_certificate: identity.asks_clients() && !is_known };
                    connection(tls, arrival, shutdown, pages).await;
                }
            }
        });
    }
    while clients.connections.join_next().await.is_some() {}
}

/// The connections. When there are too many the oldest gives way, so that whoever hoards them keeps nobody out: a page is
/// answered in less time than it takes to be the oldest.
#[derive(Default)]
struct Clients {
    connections: JoinSet<()>,
    oldest_first: VecDeque<AbortHandle>,
}

impl Clients {
    fn admit(&mut self, connection: impl Future<Output = ()> + Send + 'static) {
        while self.connections.try_join_next().is_some() {}
        self.oldest_first.retain(|client| !client.is_finished());
        if self.oldest_first.len() >= CONNECTIONS
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            oldest.abort();
        }
        self.oldest_first.push_back(self.connections.spawn(connection));
    }
}

async fn connection<S, P, F>(stream: S, arrival: Arrival, shutdown: Shutdown, pages: P)
where
    S: AsyncRead + AsyncWrite + Unpin,
    P: Fn(Request<Incoming>) -> F,
    F: Future<Output = Page>,
{
    let pages = &pages;
    let service = service_fn(|mut request: Request<Incoming>| {
        request.extensions_mut().insert(arrival);
        async move { Ok::<_, Infallible>(answer(request, pages).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let done = tokio::select! {
        done = connection.as_mut() => done,
        () = async { tokio::select! { () = sleep(CONNECTION_AGE) => {}, () = shutdown.begun() => {} } } => {
            connection.as_mut().graceful_shutdown();
            timeout(LINGER, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = done {
        tracing::debug!("a client of the status listener: {error}");
    }
}

async fn answer<P, F>(request: Request<Incoming>, pages: &P) -> Page
where
    P: Fn(Request<Incoming>) -> F,
    F: Future<Output = Page>,
{
    // hyper leaves the body out of an answer to HEAD by itself.
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        return pages(request).await;
    }
    let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
    refused.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
    refused
}
