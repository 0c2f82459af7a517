//! From a listener to connections whose clients have shown their certificate. Handshakes run beside the accept loop,
//! a bounded number at a time and each with a deadline, so that a client that says nothing holds up nobody.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;

use super::Identity;
use crate::shutdown::Shutdown;

/// The longest time a client may take to shake hands.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// How many may do so at once; the rest wait in the kernel's queue.
const HANDSHAKES: usize = 512;
/// The pause after the listener failed, as it does when the process has no descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Connections of clients that chain to `--ca`, until `shutdown`. Each handshake takes the identity that is current
/// when it begins. Clients that fail are logged and not part of the stream, which itself never fails.
pub fn accept(
    listener: TcpListener,
    identity: Arc<Identity>,
    shutdown: Shutdown,
) -> impl Stream<Item = io::Result<TlsStream<TcpStream>>> {
    let (connections, stream) = mpsc::channel(16);
    tokio::spawn(accept_loop(listener, identity, shutdown, connections));
    ReceiverStream::new(stream)
}

async fn accept_loop(
    listener: TcpListener,
    identity: Arc<Identity>,
    shutdown: Shutdown,
    connections: mpsc::Sender<io::Result<TlsStream<TcpStream>>>,
) {
    let permits = Arc::new(Semaphore::new(HANDSHAKES));
    let mut handshakes = JoinSet::new();
    loop {
        let tcp = tokio::select! {
            tcp = next(&listener) => tcp,
            () = shutdown.begun() => return,
            () = connections.closed() => return,
        };
        while handshakes.try_join_next().is_some() {}
        let Ok(permit) = permits.clone().acquire_owned().await else { return };
        let (acceptor, connections) = (TlsAcceptor::from(identity.server_config()), connections.clone());
        handshakes.spawn(async move {
            if let Some(tls) = handshake(acceptor, tcp).await {
                // Fails only when nobody takes connections any more.
                let _stopped = connections.send(Ok(tls)).await;
            }
            drop(permit);
        });
    }
}

/// The next connection. Waits out a failing listener: giving up would stop the server for good.
async fn next(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((tcp, _)) => return tcp,
            Err(error) => {
                tracing::warn!("cannot accept a connection: {error}");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn handshake(acceptor: TlsAcceptor, tcp: TcpStream) -> Option<TlsStream<TcpStream>> {
    let peer = tcp.peer_addr().map_or_else(|_| "a client that is gone".into(), |peer| peer.to_string());
    let _only_slower = tcp.set_nodelay(true);
    let failure = match timeout(HANDSHAKE_TIMEOUT, acceptor.accept(tcp)).await {
        Ok(Ok(tls)) => return Some(tls),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("not done within {HANDSHAKE_TIMEOUT:?}"),
    };
    tracing::warn!(%peer, "TLS handshake refused: {failure}");
    None
}
