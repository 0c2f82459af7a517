//! From a listener to connections whose clients have shown their certificate. Handshakes run beside the accept loop,
//! a bounded number at a time and each with a deadline, so that a client that says nothing holds up nobody.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;

use super::Identity;
use crate::listen::BoundedListener;
use crate::shutdown::Shutdown;

/// The longest time a client may take to shake hands.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// How many may do so at once; the rest wait in the kernel's queue.
const HANDSHAKES: usize = 512;

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
    let listener = BoundedListener::new(listener, HANDSHAKES);
    let mut handshakes = JoinSet::new();
    loop {
        let (tcp, peer, place) = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.begun() => return,
            () = connections.closed() => return,
        };
        while handshakes.try_join_next().is_some() {}
        let (acceptor, connections) = (TlsAcceptor::from(identity.server_config()), connections.clone());
        handshakes.spawn(async move {
            if let Some(tls) = handshake(acceptor, tcp, peer).await {
                // Fails only when nobody takes connections any more.
                let _stopped = connections.send(Ok(tls)).await;
            }
            drop(place);
        });
    }
}

/// Shakes hands; nothing, told of in the log, if that comes to nothing.
pub(crate) async fn handshake(acceptor: TlsAcceptor, tcp: TcpStream, peer: SocketAddr) -> Option<TlsStream<TcpStream>> {
    let _only_slower = tcp.set_nodelay(true);
    match timeout(HANDSHAKE_TIMEOUT, acceptor.accept(tcp)).await {
        Ok(Ok(tls)) => return Some(tls),
        // What a probe of the port looks like.
        Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
            tracing::debug!(%peer, "hung up during the TLS handshake");
        }
        Ok(Err(error)) => tracing::warn!(%peer, "TLS handshake refused: {error}"),
        Err(_) => tracing::warn!(%peer, "TLS handshake not done within {HANDSHAKE_TIMEOUT:?}"),
    }
    None
}
