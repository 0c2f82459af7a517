//! Connections of pods: accepted, served one task each, drained at the end. Run by `app.rs`.
//!
//! What must always hold: no error of one connection ends the listener, no error of the listener makes it spin,
//! and a pod that hangs up drops its own request only.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulConnection, GracefulShutdown};
use kiam_common::shutdown::Shutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

use super::{Front, imds};

/// Connections open at a time; more wait in the listener's backlog.
const CONNECTIONS_MAX: usize = 1024;
/// How long a request's head may take to arrive, which is also how long a connection may be idle.
const HEAD_WITHIN: Duration = Duration::from_secs(30);
/// The longest request head, in bytes: a session token and a few headers need a tenth of it.
const HEAD_MAX: usize = 16 * 1024;
/// The most headers of a request.
const HEADERS_MAX: usize = 64;
/// The pause after an accept that failed, mostly for want of descriptors.
const PAUSE: Duration = Duration::from_millis(50);

/// Serves until shutdown, then lets requests in flight finish: none lasts longer than its own limit.
pub(crate) async fn serve(listener: TcpListener, front: Arc<Front>, shutdown: Shutdown) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let connections = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &places) => accepted,
            () = shutdown.begun() => break,
        };
        if let Some((stream, peer, place)) = accepted {
            let connection = serve_connection(stream, peer, front.clone());
            let watched = connections.watch(connection);
            tokio::spawn(async move {
                if let Err(error) = watched.await {
                    tracing::debug!(peer = %peer, %error, "connection ended");
                }
                drop(place);
            });
        }
    }
    drop(listener);
    if timeout(imds::ANSWER_WITHIN + PAUSE, connections.shutdown()).await.is_err() {
        tracing::warn!("some connections were still open at the end");
    }
}

/// The next connection, as soon as there is a place for it; none if accepting failed.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, peer)) => Some((stream, peer, place)),
        Err(error) => {
            tracing::warn!(%error, "cannot accept a connection");
            sleep(PAUSE).await;
            None
        }
    }
}

fn serve_connection(
    stream: TcpStream,
    peer: SocketAddr,
    front: Arc<Front>,
) -> impl GracefulConnection<Error = hyper::Error> + Send + 'static {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, %error, "cannot set TCP_NODELAY");
    }
    let ip = peer.ip().to_canonical();
    front.metrics.arrivals.note(&stream, ip);
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let front = front.clone();
        async move {
            let (head, _no_body) = request.into_parts();
            Ok::<_, Infallible>(front.answer(ip, &head).await)
        }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_buf_size(HEAD_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), service)
}
