//! Connections of pods: accepted, served one task each, drained at the end. Run by `app.rs`.
//!
//! What must always hold: no error of one connection ends the listener, no error of the listener makes it spin, a pod
//! that hangs up drops its own request only, and nobody is waited for without an end: a head must arrive, and an answer
//! be taken, in time.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ::http::{HeaderValue, Request, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulConnection, GracefulShutdown};
use kiam_common::listen::PatientListener;
use kiam_common::shutdown::Shutdown;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;

use super::farewell::Farewells;
use super::peers::Place;
use super::stall::Stalling;
use super::{Front, imds};

/// How long a request's head may take to arrive, which is also how long a connection may be idle.
const HEAD_WITHIN: Duration = Duration::from_secs(30);
/// How long an answer may wait for the pod to read on.
const READ_WITHIN: Duration = Duration::from_secs(30);
/// The longest request head, in bytes: a session token and a few headers need a tenth of it.
const HEAD_MAX: usize = 16 * 1024;
/// The most headers of a request.
const HEADERS_MAX: usize = 64;
/// The most requests of a connection.
const REQUESTS_MAX: u32 = 100_000;
/// What is left for requests to be answered at the end, beyond their own limit.
const GRACE: Duration = Duration::from_millis(50);

/// How many bytes of answers the kernel keeps for a pod that does not read (it takes that twice). On its own it would go
/// on to megabytes, and a pod that only asks would have the agent fill them.
const UNREAD_MAX: u32 = 64 * 1024;
/// How many connections may wait to be accepted.
const BACKLOG: u32 = 1024;

/// Opens the metadata port.
pub(crate) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.set_send_buffer_size(UNREAD_MAX)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves until shutdown, then lets requests in flight finish: none lasts longer than its own limit.
pub(crate) async fn serve(listener: TcpListener, front: Arc<Front>, shutdown: Shutdown) {
    let listener = PatientListener::new(listener);
    let (connections, farewells) = (GracefulShutdown::new(), Farewells::default());
    loop {
        let (stream, peer) = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.begun() => break,
        };
        let ip = peer.ip().to_canonical();
        match front.peers.admit(ip) {
            Ok(place) => {
                let place = Arc::new(place);
                let watched = connections.watch(connection(stream, peer, place.clone(), front.clone()));
                tokio::spawn(async move {
                    tokio::select! {
                        biased;
                        ended = watched => {
                            if let Err(error) = ended {
                                tracing::debug!(%peer, %error, "connection ended");
                            }
                        }
                        () = place.given_away() => tracing::debug!(%peer, "idle connection closed for another pod"),
                    }
                });
            }
            Err(full) => {
                front.turned_away(ip, &full);
                farewells.say(stream, &full);
            }
        }
    }
    drop(listener);
    if timeout(imds::ANSWER_WITHIN + GRACE, connections.shutdown()).await.is_err() {
        tracing::warn!("some connections were still open at the end");
        front.cut_off();
    }
}

fn connection(
    stream: TcpStream,
    address: SocketAddr,
    place: Arc<Place>,
    front: Arc<Front>,
) -> impl GracefulConnection<Error = hyper::Error> + Send + 'static {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(peer = %address, %error, "cannot set TCP_NODELAY");
    }
    front.settle();
    front.metrics.arrivals.note(&stream, place.peer.ip);
    let answered = AtomicU32::new(0);
    let service = service_fn(move |request: Request<Incoming>| {
        let (front, place) = (front.clone(), place.clone());
        let is_last = answered.fetch_add(1, Ordering::Relaxed) + 1 >= REQUESTS_MAX;
        async move {
            let (head, _no_body) = request.into_parts();
            place.set_busy(true);
            let mut answer = front.answer(&place.peer, &head).await;
            place.set_busy(false);
            if is_last {
                answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(answer)
        }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_buf_size(HEAD_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(Stalling::new(stream, READ_WITHIN)), service)
}

#[cfg(test)]
mod tests {
    use rustix::net::sockopt::socket_send_buffer_size;

    use super::*;

    #[tokio::test]
    async fn answers_that_nobody_reads_are_few() {
        let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let _pod = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        assert_eq!(socket_send_buffer_size(&accepted).unwrap(), 2 * UNREAD_MAX as usize);
    }
}
