//! Drives the connections: HTTP/2 keepalive, and an end for those that are idle, old, or in the way of a shutdown.
//!
//! Every end is the polite one: GOAWAY, then the calls under way finish within a grace, and only then is the connection
//! dropped. tonic's own server has no idle limit, and its grace for old connections drops the calls under way, which
//! is why hyper is driven from here.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use http::Request;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use kiam_common::shutdown::Shutdown;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::sleep;
use tokio_util::task::TaskTracker;
use tonic::Status;
use tonic::body::Body;
use tonic::transport::server::Connected;
use tower::ServiceExt as _;

use super::Service;
use super::activity::{Activity, Call};
use super::connections::Connections;
use super::lifetime::Lifetime;
use crate::jitter;

/// How long the calls under way may take once the shutdown has begun.
const DRAIN: Duration = Duration::from_secs(10);

/// How long connections live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Between HTTP/2 pings; zero for none.
    pub keepalive_time: Duration,
    /// Within which a ping must be answered.
    pub keepalive_timeout: Duration,
    /// Without a call before the connection is closed; zero for no limit.
    pub idle: Duration,
    /// Before the connection is closed in any case; zero for no limit. Up to a tenth more, so that agents that came
    /// together do not leave together.
    pub age: Duration,
    /// For the calls under way when the connection is old; zero for no limit.
    pub age_grace: Duration,
}

/// Serves connections until the shutdown, and then what is under way for at most [`DRAIN`].
pub async fn serve<IO>(
    incoming: impl Stream<Item = io::Result<IO>>,
    service: Service,
    limits: Limits,
    open: Arc<Connections>,
    shutdown: Shutdown,
) where
    IO: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
{
    let connections = TaskTracker::new();
    let mut incoming = std::pin::pin!(incoming);
    loop {
        let connection = tokio::select! {
            () = shutdown.begun() => break,
            connection = incoming.next() => connection,
        };
        match connection {
            Some(Ok(io)) => {
                let activity = Arc::<Activity>::default();
                let entered = open.enter(&activity);
                let (service, shutdown) = (service.clone(), shutdown.clone());
                connections.spawn(async move {
                    drive(io, service, &activity, limits, shutdown).await;
                    drop(entered);
                });
            }
            Some(Err(error)) => tracing::warn!("connection refused: {error}"),
            None => break,
        }
    }
    connections.close();
    connections.wait().await;
}

async fn drive<IO>(io: IO, service: Service, activity: &Activity, limits: Limits, shutdown: Shutdown)
where
    IO: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
{
    let lifetime = Lifetime::default();
    let peer = io.connect_info();
    let handle = hyper::service::service_fn(|mut request: Request<Incoming>| {
        let call = activity.begin();
        request.extensions_mut().insert(peer.clone());
        request.extensions_mut().insert(lifetime.clone());
        let response = service.clone().oneshot(request.map(Body::new));
        async move { Ok::<_, Status>(response.await?.map(|body| counted(body, call))) }
    });
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval((!limits.keepalive_time.is_zero()).then_some(limits.keepalive_time))
        .keep_alive_timeout(limits.keepalive_timeout)
        .serve_connection(TokioIo::new(io), handle);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        _ended = connection.as_mut() => return,
        () = lifetime.is_cut() => return,
        () = shutdown.begun() => {}
        () = unless_zero(limits.idle, |idle| activity.none_for(idle)) => {}
        () = unless_zero(limits.age, |age| sleep(age + jitter::up_to(age / 10))) => {}
    }
    lifetime.grow_old();
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        _ended = connection => {}
        () = lifetime.is_cut() => {}
        () = unless_zero(limits.age_grace, sleep) => tracing::warn!("calls outlived the grace of their connection"),
        () = drain(&shutdown) => tracing::warn!("calls outlived the drain"),
    }
}

/// The call is over when its body has been sent or dropped, which may be long after the headers.
fn counted<B: http_body::Body>(body: B, call: Call) -> impl http_body::Body<Data = B::Data, Error = B::Error> {
    body.map_frame(move |frame| {
        let _under_way = &call;
        frame
    })
}

async fn drain(shutdown: &Shutdown) {
    shutdown.begun().await;
    sleep(DRAIN).await;
}

/// Waits for a limit; forever if it is zero, which means that there is none.
async fn unless_zero<F: Future<Output = ()>>(limit: Duration, wait: impl FnOnce(Duration) -> F) {
    if limit.is_zero() {
        std::future::pending::<()>().await;
    } else {
        wait(limit).await;
    }
}
