//! gRPC channels to one address of the server, over mutual TLS.

use std::error::Error as _;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use crate::args::KeepaliveArgs;
use crate::reason::Refusal;
use crate::tls::Identity;

/// A lazily connected HTTP/2 channel to `address`, which must show a certificate for `host` (a name or an address).
/// Each connection takes the identity that is current when it is made, and must be made, TLS included, within
/// `connect_timeout`. Connects again by itself.
pub fn connect_lazily(
    address: SocketAddr,
    host: &str,
    identity: &Arc<Identity>,
    keepalive: &KeepaliveArgs,
    connect_timeout: Duration,
) -> Channel {
    let (identity, server) = (identity.clone(), ServerName::try_from(host.to_owned()).ok());
    let connector = service_fn(move |_: Uri| {
        let (identity, server) = (identity.clone(), server.clone());
        async move {
            let server = server.ok_or(io::ErrorKind::InvalidInput)?;
            let connected = timeout(connect_timeout, connect(address, server, &identity)).await;
            connected.unwrap_or_else(|_| Err(too_slow(connect_timeout))).map(TokioIo::new)
        }
    });
    endpoint(keepalive).connect_with_connector_lazy(connector)
}

/// Why a call failed, in one line: the words of the server, or the last of the causes why it could not be asked, which
/// tonic wraps.
pub fn why(status: &Status) -> String {
    let Some(mut cause) = status.source() else { return Refusal::from_status(status).message };
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

fn too_slow(connect_timeout: Duration) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("no TLS connection within {connect_timeout:?}"))
}

async fn connect(
    address: SocketAddr,
    server: ServerName<'static>,
    identity: &Identity,
) -> io::Result<TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(address).await?;
    tcp.set_nodelay(true)?;
    TlsConnector::from(identity.client_config()).connect(server, tcp).await
}

/// The connector knows the address, so the URI is only the `:authority` of each call. It says `http` because tonic
/// refuses `https` with a connector of one's own.
fn endpoint(keepalive: &KeepaliveArgs) -> Endpoint {
    let endpoint = Endpoint::from_static("http://kiam-server")
        .keep_alive_while_idle(keepalive.grpc_keepalive_permit_without_stream)
        .keep_alive_timeout(keepalive.grpc_keepalive_timeout_duration);
    match keepalive.grpc_keepalive_time_duration {
        Duration::ZERO => endpoint,
        every => endpoint.http2_keep_alive_interval(every),
    }
}
