//! What only a connection shows: malformed requests, hang-ups, keep-alive, the end.

use std::net::SocketAddr;
use std::time::Duration;

use kiam_common::shutdown::Shutdown;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::*;

/// The pod that loopback connections come from.
const LOOPBACK: &str = "127.0.0.1";

pub(super) async fn listen(stand: &Stand) -> (SocketAddr, Shutdown, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, shutdown) = (listener.local_addr().unwrap(), Shutdown::new());
    stand.server.set(LOOPBACK, Pod::Role("reader", credentials()));
    let serving = tokio::spawn(listener::serve(listener, stand.front.clone(), shutdown.clone()));
    (address, shutdown, serving)
}

/// Sends bytes as they are and reads until the other side closes.
async fn send(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    // A reset after the answer is as good as an end.
    let _ended = stream.read_to_string(&mut answer).await;
    answer
}

/// Reads one answer with a `Content-Length` off a connection that stays open.
pub(super) async fn read_one(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    loop {
        answer.push(stream.read_u8().await.unwrap());
        if answer.ends_with(b"\r\n\r\n") {
            break;
        }
    }
    let head = String::from_utf8(answer).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap().parse().unwrap();
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
    head + &String::from_utf8(body).unwrap()
}

#[tokio::test]
async fn malformed_requests_are_400_and_never_passed_on() {
    let stand = Stand::allowing("(?s).*").await;
    let (address, _shutdown, _serving) = listen(&stand).await;
    let head = "Host: h\r\nConnection: close\r\n";
    for request in [
        "GET http://h/latest/meta-data/ HTTP/1.1\r\n{head}\r\n",
        "GET * HTTP/1.1\r\n{head}\r\n",
        "CONNECT h:80 HTTP/1.1\r\n{head}\r\n",
        "GET /latest HTTP/1.1\r\nConnection: close\r\n\r\n",
        "GET /latest HTTP/1.1\r\nHost: other\r\n{head}\r\n",
        "GET /latest HTTP/1.1\r\n{head}Content-Length: 4\r\n\r\nbody",
        "GET /latest HTTP/1.1\r\n{head}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET /latest HTTP/1.1\r\n{head}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        "GET /latest HTTP/1.1\r\n{head}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET /latest HTTP/1.1\r\n{head}Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "PUT /latest/api/token HTTP/1.1\r\n{head}Content-Length: 4\r\n\r\nbody",
        "GET /latest\\meta-data HTTP/1.1\r\n{head}\r\n",
        "GET /latest/%2e%2e/x HTTP/1.1\r\n{head}\r\n",
        "GET /latest /x HTTP/1.1\r\n{head}\r\n",
        "nonsense\r\n\r\n",
    ] {
        let answer = send(address, request.replace("{head}", head).as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{request:?}: {answer:?}");
    }
    assert!(stand.metadata.seen().is_empty());
}

#[tokio::test]
async fn heads_that_are_too_long_or_have_too_many_headers_are_refused() {
    let stand = Stand::new().await;
    let (address, _shutdown, _serving) = listen(&stand).await;
    let long = format!("GET /ping HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "x".repeat(100_000));
    let many = format!("GET /ping HTTP/1.1\r\nHost: h\r\n{}\r\n", "X: y\r\n".repeat(1000));
    for request in [long, many] {
        let answer = send(address, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }
}

#[tokio::test]
async fn a_connection_is_kept_for_the_next_request() {
    let stand = Stand::new().await;
    let (address, _shutdown, _serving) = listen(&stand).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    for _ in 0..3 {
        stream.write_all(format!("GET {LIST}reader HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes()).await.unwrap();
        assert!(read_one(&mut stream).await.contains(SECRET));
    }
}

#[tokio::test]
async fn a_head_request_has_the_length_and_no_body() {
    let stand = Stand::new().await;
    let (address, _shutdown, _serving) = listen(&stand).await;
    let answer =
        send(address, format!("HEAD {LIST} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("content-length: 6"), "{answer}");
    assert!(answer.ends_with("\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn a_pod_that_hangs_up_takes_only_its_own_wait_along() {
    let stand = Stand::new().await;
    let (address, _shutdown, _serving) = listen(&stand).await;
    stand.server.forget(LOOPBACK);
    let request = format!("GET {LIST} HTTP/1.1\r\nHost: h\r\n\r\n");
    let (mut gone, mut patient) =
        (TcpStream::connect(address).await.unwrap(), TcpStream::connect(address).await.unwrap());
    gone.write_all(request.as_bytes()).await.unwrap();
    patient.write_all(request.as_bytes()).await.unwrap();
    stand.server.waiting(2).await;
    drop(gone);
    stand.server.waiting(1).await;
    stand.server.set(LOOPBACK, Pod::Role("reader", credentials()));
    assert!(read_one(&mut patient).await.ends_with("reader"));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_sends_its_head_is_let_go() {
    let stand = Stand::new().await;
    let (address, _shutdown, _serving) = listen(&stand).await;
    let started = Instant::now();
    send(address, b"GET /ping HTTP/1.1\r\nHost: ").await;
    assert_eq!(started.elapsed().as_secs(), 30);
}

#[tokio::test]
async fn at_the_end_requests_in_flight_are_answered_and_new_ones_are_not() {
    let stand = Stand::new().await;
    let (address, shutdown, serving) = listen(&stand).await;
    stand.server.forget(LOOPBACK);
    let mut stream = TcpStream::connect(address).await.unwrap();
    let _idle = TcpStream::connect(address).await.unwrap();
    stream.write_all(format!("GET {LIST} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes()).await.unwrap();
    stand.server.waiting(1).await;
    shutdown.begin();
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    stand.server.set(LOOPBACK, Pod::Role("reader", credentials()));
    assert!(read_one(&mut stream).await.ends_with("reader"));
    serving.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_end_does_not_wait_for_ever() {
    let stand = Stand::new().await;
    let (address, shutdown, serving) = listen(&stand).await;
    let mut stuck = TcpStream::connect(address).await.unwrap();
    stuck.write_all(b"GET /ping HTTP/1.1\r\n").await.unwrap();
    let started = Instant::now();
    tokio::time::sleep(Duration::from_millis(1)).await;
    shutdown.begin();
    serving.await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(6), "{:?}", started.elapsed());
}
