//! A small HTTP/1 server for pages that are read: bounded connections, deadlines for slow clients.

use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

use crate::listen::BoundedListener;
use crate::shutdown::Shutdown;

/// The body of a page.
pub(super) type Page = Response<Full<Bytes>>;

/// How many clients are answered at once; the rest wait in the kernel's queue.
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

/// Answers every GET and HEAD on `listener` with what `pages` says for the request, until `shutdown`.
pub(super) async fn serve<P, F>(listener: TcpListener, shutdown: Shutdown, pages: P)
where
    P: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Page> + Send + 'static,
{
    let listener = BoundedListener::new(listener, CONNECTIONS);
    loop {
        let (tcp, _, place) = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.begun() => return,
        };
        let (pages, shutdown) = (pages.clone(), shutdown.clone());
        tokio::spawn(async move {
            connection(tcp, shutdown, pages).await;
            drop(place);
        });
    }
}

async fn connection<P, F>(tcp: TcpStream, shutdown: Shutdown, pages: P)
where
    P: Fn(Request<Incoming>) -> F,
    F: Future<Output = Page>,
{
    let service = service_fn(|request| async { Ok::<_, Infallible>(answer(request, &pages).await) });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(tcp), service);
    let mut connection = pin!(connection);
    let done = tokio::select! {
        done = connection.as_mut() => done,
        () = async { tokio::select! { () = sleep(CONNECTION_AGE) => {}, () = shutdown.begun() => {} } } => {
            connection.as_mut().graceful_shutdown();
            timeout(LINGER, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = done {
        tracing::debug!("a client of the metrics listener: {error}");
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
