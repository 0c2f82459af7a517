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
use tokio::time::{Instant, sleep_until};

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
        let start = Instant::now();
        tokio::time::sleep(duration).await;
        let answers = self.answers.load(Ordering::Relaxed);
        self.over.store(true, Ordering::Relaxed);
        #[expect(clippy::cast_precision_loss, reason = "a count of answers is far below 2^52")]
        let rate = answers as f64 / start.elapsed().as_secs_f64();
        rate
    }
}

/// How requests use connections.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Connections {
    /// Each worker keeps one.
    Kept,
    /// Each request has its own, as most SDKs' do.
    New,
}

/// What to ask, and from where.
#[derive(Clone)]
pub(crate) struct Question {
    /// Who is asked.
    pub(crate) target: SocketAddr,
    /// The path of the GET.
    pub(crate) path: &'static str,
    /// The pods that ask in turns.
    pub(crate) sources: Vec<IpAddr>,
}

impl Question {
    /// The whole request.
    fn bytes(&self) -> Arc<[u8]> {
        format!("GET {} HTTP/1.1\r\nhost: {}\r\n\r\n", self.path, self.target).into_bytes().into()
    }

    async fn connect(target: SocketAddr, source: IpAddr) -> TcpStream {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::new(source, 0)).expect("a pod's address");
        let stream = socket.connect(target).await.expect("the target listens");
        stream.set_nodelay(true).expect("TCP_NODELAY");
        stream
    }
}

/// Answers a second, asked by so many workers.
pub(crate) async fn http(question: &Question, connections: Connections, workers: usize, duration: Duration) -> f64 {
    let tally = Tally::default();
    let request = question.bytes();
    let mut working = JoinSet::new();
    for source in question.sources.iter().cycle().take(workers) {
        let (tally, request, source, target) = (tally.clone(), Arc::clone(&request), *source, question.target);
        working.spawn(async move {
            let mut stream = Question::connect(target, source).await;
            let mut buffer = vec![0; 16 * 1024];
            while !tally.over.load(Ordering::Relaxed) {
                stream.write_all(&request).await.expect("the target reads");
                read_answer(&mut stream, &mut buffer).await;
                tally.answers.fetch_add(1, Ordering::Relaxed);
                if connections == Connections::New {
                    stream = Question::connect(target, source).await;
                }
            }
        });
    }
    let rate = tally.rate(duration).await;
    while let Some(worker) = working.join_next().await {
        worker.expect("no worker failed: every answer was 200");
    }
    rate
}

/// The 99th percentile of the answers' times in microseconds, asked `rate` times a second over so many kept
/// connections. Counted from when each request was due, so that one slow answer does not hide those behind it.
pub(crate) async fn http_paced(question: &Question, rate: u32, connections: u32, duration: Duration) -> f64 {
    let (start, request) = (Instant::now() + Duration::from_millis(100), question.bytes());
    let mut workers = JoinSet::new();
    for (number, source) in (0..connections).zip(question.sources.iter().cycle()) {
        let (request, source, target) = (Arc::clone(&request), *source, question.target);
        workers.spawn(async move {
            let mut stream = Question::connect(target, source).await;
            let mut buffer = vec![0; 16 * 1024];
            let mut times = Vec::new();
            let mut due = start + Duration::from_secs(1) * number / rate;
            while due < start + duration {
                sleep_until(due).await;
                stream.write_all(&request).await.expect("the target reads");
                read_answer(&mut stream, &mut buffer).await;
                times.push(due.elapsed());
                due += Duration::from_secs(1) * connections / rate;
            }
            times
        });
    }
    let mut times: Vec<Duration> = workers.join_all().await.into_iter().flatten().collect();
    times.sort_unstable();
    times[times.len() * 99 / 100].as_secs_f64() * 1e6
}

/// The body of one answer to the first pod.
pub(crate) async fn one(question: &Question) -> String {
    let mut stream = Question::connect(question.target, question.sources[0]).await;
    stream.write_all(&question.bytes()).await.expect("the target reads");
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
