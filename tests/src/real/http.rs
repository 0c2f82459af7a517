//! HTTP requests as `curl --interface` would send them: from a chosen address, one connection each.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::loopback::Broken;

/// This machine as everybody sees it who is no pod.
pub const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// What was answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body; everything that is asked here answers text.
    pub body: String,
}

impl Answer {
    /// A header's value, empty if it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// A text field of the body's JSON object, empty if it is not there.
    pub fn field(&self, name: &str) -> String {
        let body: serde_json::Value = serde_json::from_str(&self.body).unwrap_or_default();
        body[name].as_str().unwrap_or_default().into()
    }
}

/// A GET of `path`.
pub async fn get(from: IpAddr, to: SocketAddr, path: &str) -> Answer {
    send(from, to, Request::get(path).body(String::new()).expect("the path is sound")).await
}

/// Sends a request, whose URI is the path alone.
///
/// # Panics
/// If there is no answer.
pub async fn send(from: IpAddr, to: SocketAddr, request: Request<String>) -> Answer {
    try_send(from, to, request).await.unwrap_or_else(|error| panic!("no answer from {to} to {from}: {error}"))
}

/// The same, where no answer is one of the things that may happen.
pub async fn try_send(from: IpAddr, to: SocketAddr, request: Request<String>) -> Result<Answer, Broken> {
    Connection::open(from, to).await?.send(request).await
}

/// A connection for one request after the other.
#[derive(Debug)]
pub struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    host: HeaderValue,
}

impl Connection {
    /// Connects from a chosen address.
    pub async fn open(from: IpAddr, to: SocketAddr) -> Result<Self, Broken> {
        Self::over(connect(from, to).await?, &to.to_string()).await
    }

    /// Over a stream that is there already, to this host.
    pub async fn over(
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        host: &str,
    ) -> Result<Self, Broken> {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self { sender, host: host.parse()? })
    }

    /// Sends a request, whose URI is the path alone.
    pub async fn send(&mut self, request: Request<String>) -> Result<Answer, Broken> {
        let mut request = request.map(Full::<Bytes>::from);
        request.headers_mut().entry(HOST).or_insert_with(|| self.host.clone());
        self.sender.ready().await?;
        let (parts, body) = self.sender.send_request(request).await?.into_parts();
        let body = String::from_utf8_lossy(&body.collect().await?.to_bytes()).into_owned();
        Ok(Answer { status: parts.status, headers: parts.headers, body })
    }

    /// Whether the other side has closed it.
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }
}

/// Sends bytes that no HTTP client would, and returns all that comes back until the other side closes.
pub async fn send_raw(from: IpAddr, to: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = connect(from, to).await.expect("the port listens");
    stream.write_all(bytes).await.expect("the other side reads");
    let mut answer = Vec::new();
    // A reset after the answer is as good as an end.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// A connection from a chosen address.
pub async fn connect(from: IpAddr, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.bind((from, 0).into())?;
    socket.connect(to).await
}
