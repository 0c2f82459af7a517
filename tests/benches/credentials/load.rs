//! The load generators. Each runs in a process of its own, so that what is measured never shares a runtime with
//! what measures it.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use kiam_common::args::{KeepaliveArgs, TlsArgs};
use kiam_common::channel::connect_lazily;
use kiam_common::tls::Identity;
use kiam_proto::kiam::GetPodCredentialsRequest;
use kiam_proto::kiam::kiam_service_client::KiamServiceClient;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

/// A counter that many workers add to until time is up.
#[derive(Clone, Default)]
struct Tally {
    answers: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
}

impl Tally {
    /// Lets the workers warm up for a fifth of `duration`, counts for all of it, and gives answers a second.
    async fn rate(&self, duration: Duration) -> f64 {
        tokio::time::sleep(duration / 5).await;
        self.answers.store(0, Ordering::Relaxed);
        let start = tokio::time::Instant::now();
        tokio::time::sleep(duration).await;
        let answers = self.answers.load(Ordering::Relaxed);
        self.over.store(true, Ordering::Relaxed);
        #[expect(clippy::cast_precision_loss, reason = "a count of answers is far below 2^52")]
        let rate = answers as f64 / start.elapsed().as_secs_f64();
        rate
    }
}

/// Answers a second from `GET path` at `target` over keep-alive connections, shared evenly among the `sources`.
pub(crate) async fn http(
    target: SocketAddr,
    path: &str,
    sources: &[IpAddr],
    connections: usize,
    duration: Duration,
) -> f64 {
    let tally = Tally::default();
    let request: Arc<[u8]> = format!("GET {path} HTTP/1.1\r\nhost: {target}\r\n\r\n").into_bytes().into();
    let mut workers = JoinSet::new();
    for source in sources.iter().cycle().take(connections) {
        let (tally, request, source) = (tally.clone(), Arc::clone(&request), *source);
        workers.spawn(async move {
            let socket = TcpSocket::new_v4().expect("a socket");
            socket.bind(SocketAddr::new(source, 0)).expect("a pod's address");
            let mut stream = socket.connect(target).await.expect("the target listens");
            stream.set_nodelay(true).expect("TCP_NODELAY");
            let mut buffer = vec![0; 16 * 1024];
            while !tally.over.load(Ordering::Relaxed) {
                stream.write_all(&request).await.expect("the target reads");
                read_answer(&mut stream, &mut buffer).await;
                tally.answers.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let rate = tally.rate(duration).await;
    while let Some(worker) = workers.join_next().await {
        worker.expect("no worker failed: every answer was 200");
    }
    rate
}

/// The body of one answer to `GET path` at `target`.
pub(crate) async fn one(target: SocketAddr, path: &str, source: IpAddr) -> String {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(SocketAddr::new(source, 0)).expect("a pod's address");
    let mut stream = socket.connect(target).await.expect("the target listens");
    let request = format!("GET {path} HTTP/1.1\r\nhost: {target}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("the target reads");
    let mut buffer = vec![0; 16 * 1024];
    let body = read_answer(&mut stream, &mut buffer).await;
    String::from_utf8(buffer[body].to_vec()).expect("JSON")
}

/// Reads one whole answer, which must be 200 with a content length; where its body is.
async fn read_answer(stream: &mut TcpStream, buffer: &mut [u8]) -> Range<usize> {
    let mut filled = 0;
    loop {
        let read = stream.read(&mut buffer[filled..]).await.expect("the target answers");
        assert!(read > 0, "the target hung up: {:?}", String::from_utf8_lossy(&buffer[..filled]));
        filled += read;
        let mut headers = [httparse::EMPTY_HEADER; 16];
        let mut answer = httparse::Response::new(&mut headers);
        if let httparse::Status::Complete(head) = answer.parse(&buffer[..filled]).expect("an HTTP answer") {
            assert_eq!(answer.code, Some(200), "{}", String::from_utf8_lossy(&buffer[..filled]));
            let length = answer
                .headers
                .iter()
                .find(|header| header.name.eq_ignore_ascii_case("content-length"))
                .and_then(|header| std::str::from_utf8(header.value).ok()?.parse::<usize>().ok())
                .expect("a content length");
            if filled >= head + length {
                return head..head + length;
            }
        }
    }
}

/// Answers a second from `GetPodCredentials`, `in_flight` calls at a time on one mTLS connection.
pub(crate) async fn grpc(
    target: SocketAddr,
    files: &TlsArgs,
    ip: &str,
    role: &str,
    in_flight: usize,
    time: Duration,
) -> f64 {
    let identity = Identity::load(files).await.expect("the client's certificate");
    let keepalive = KeepaliveArgs {
        grpc_keepalive_time_duration: Duration::from_secs(10),
        grpc_keepalive_timeout_duration: Duration::from_secs(2),
        grpc_keepalive_permit_without_stream: false,
    };
    let channel = connect_lazily(target, "localhost", &identity, &keepalive, Duration::from_secs(1));
    let tally = Tally::default();
    let mut workers = JoinSet::new();
    for _ in 0..in_flight {
        let mut client = KiamServiceClient::new(channel.clone());
        let (tally, ip, role) = (tally.clone(), ip.to_owned(), role.to_owned());
        workers.spawn(async move {
            while !tally.over.load(Ordering::Relaxed) {
                let request = GetPodCredentialsRequest { ip: ip.clone(), role: role.clone() };
                client.get_pod_credentials(request).await.expect("credentials");
                tally.answers.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let rate = tally.rate(time).await;
    while let Some(worker) = workers.join_next().await {
        worker.expect("no call failed");
    }
    rate
}
