//! How much of the port a pod may take, what it is told when it wants more, and that others do not notice.

use std::net::SocketAddr;

use kiam_common::testing::CapturedLog;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use super::wire::{listen, read_one};
use super::*;

const GREEDY: [u8; 4] = [127, 0, 0, 2];
const QUIET: [u8; 4] = [127, 0, 0, 3];
const PING: &[u8] = b"GET /ping HTTP/1.1\r\nHost: h\r\n\r\n";

async fn stand(connections: usize, connections_per_pod: usize, requests_per_pod: usize) -> Stand {
    let limits = Limits { connections, connections_per_pod, requests_per_pod };
    let expression = RouteExpression::parse("^$").unwrap();
    let nothing = AllowedRoutes { presets: Vec::new(), expression, user_data: false };
    Stand::limited(nothing, Tokens::Optional, limits).await
}

async fn connect(pod: [u8; 4], agent: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((pod, 0).into()).unwrap();
    socket.connect(agent).await.unwrap()
}

/// A connection that has its place: it was answered.
async fn connected(pod: [u8; 4], agent: SocketAddr) -> TcpStream {
    let mut stream = connect(pod, agent).await;
    stream.write_all(PING).await.unwrap();
    assert!(read_one(&mut stream).await.ends_with("pong"));
    stream
}

/// All that a new connection is told, which is asked to end after one answer.
async fn asked_once(pod: [u8; 4], agent: SocketAddr) -> String {
    let mut stream = connect(pod, agent).await;
    // It may be closed already.
    let _written = stream.write_all(b"GET /ping HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn a_pod_with_too_many_connections_is_told_when_to_come_again_and_others_are_served() {
    let stand = stand(64, 4, 16).await;
    let (agent, _shutdown, _serving) = listen(&stand).await;
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(connected(GREEDY, agent).await);
    }
    for _ in 0..3 {
        let answer = asked_once(GREEDY, agent).await;
        assert!(answer.starts_with("HTTP/1.1 429 Too Many Requests\r\n"), "{answer}");
        assert!(answer.contains("\r\nretry-after: 1\r\n") && answer.contains("\r\nconnection: close\r\n"), "{answer}");
        assert!(answer.contains(r#""Code":"TooManyConnections""#), "{answer}");
    }
    connected(QUIET, agent).await;
    assert_eq!(stand.metric(r#"kiam_metadata_refused_total{reason="TooManyConnections"}"#), Some(3.0));
    drop(held);
    while !asked_once(GREEDY, agent).await.starts_with("HTTP/1.1 200 ") {}
}

#[tokio::test]
async fn pods_that_take_all_they_can_get_leave_a_connection_to_each_that_has_none() {
    let stand = stand(32, 32, 16).await;
    let (agent, _shutdown, _serving) = listen(&stand).await;
    let mut held = Vec::new();
    for pod in 10..14 {
        for _ in 0..32 {
            held.push(connect([127, 0, 0, pod], agent).await);
        }
    }
    connected(QUIET, agent).await;
}

#[tokio::test]
async fn with_more_pods_than_connections_the_last_are_told_to_come_again() {
    let stand = stand(2, 2, 16).await;
    let (agent, _shutdown, _serving) = listen(&stand).await;
    let _held = [connected([127, 0, 0, 10], agent).await, connected([127, 0, 0, 11], agent).await];
    let answer = asked_once(QUIET, agent).await;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("retry-after: 1"), "{answer}");
    assert_eq!(stand.metric(r#"kiam_metadata_refused_total{reason="Busy"}"#), Some(1.0));
}

#[tokio::test]
async fn a_pod_that_asks_too_much_at_a_time_is_told_so_on_a_connection_that_stays() {
    let stand = stand(64, 32, 2).await;
    let (agent, _shutdown, _serving) = listen(&stand).await;
    let mut asking = Vec::new();
    for _ in 0..2 {
        let mut stream = connect(GREEDY, agent).await;
        stream.write_all(format!("GET {LIST} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes()).await.unwrap();
        asking.push(stream);
    }
    stand.server.waiting(2).await;
    let mut third = connect(GREEDY, agent).await;
    third.write_all(PING).await.unwrap();
    let answer = read_one(&mut third).await;
    assert!(answer.starts_with("HTTP/1.1 429 ") && answer.contains(r#""Code":"TooManyRequests""#), "{answer}");
    connected(QUIET, agent).await;
    stand.server.set("127.0.0.2", Pod::Role("greedy", credentials()));
    for mut stream in asking {
        assert!(read_one(&mut stream).await.ends_with("greedy"));
    }
    third.write_all(PING).await.unwrap();
    assert!(read_one(&mut third).await.ends_with("pong"));
    assert_eq!(stand.metric(r#"kiam_metadata_refused_total{reason="TooManyRequests"}"#), Some(1.0));
}

#[tokio::test(start_paused = true)]
async fn a_flood_is_told_of_once_a_minute() {
    let (stand, log) = (stand(64, 1, 16).await, CapturedLog::start());
    let (agent, _shutdown, _serving) = listen(&stand).await;
    let _held = connected(GREEDY, agent).await;
    for _ in 0..50 {
        asked_once(GREEDY, agent).await;
    }
    assert_eq!(log.text().matches("connections are refused").count(), 1, "{}", log.text());
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_does_not_read_its_answers_is_let_go() {
    let stand = stand(64, 1, 16).await;
    let (agent, _shutdown, serving) = listen(&stand).await;
    let mut stuck = connect(GREEDY, agent).await;
    let asks = PING.repeat(1000);
    // Requests without end until nothing more is taken, and then for as long as that lasts.
    while stuck.write_all(&asks).await.is_ok() {}
    assert!(!serving.is_finished());
    connected(GREEDY, agent).await;
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_asks_without_session_tokens_is_told_of_once_an_hour_and_always_counted() {
    let (stand, log) = (Stand::new().await, CapturedLog::start());
    let (agent, _shutdown, _serving) = listen(&stand).await;
    let (mut first, mut second) = (connect([127, 0, 0, 1], agent).await, connect([127, 0, 0, 1], agent).await);
    let ask = format!("GET {LIST} HTTP/1.1\r\nHost: h\r\n\r\n");
    for _ in 0..3 {
        for stream in [&mut first, &mut second] {
            stream.write_all(ask.as_bytes()).await.unwrap();
            assert!(read_one(stream).await.ends_with("reader"));
        }
    }
    drop((first, second));
    tokio::time::advance(Duration::from_hours(1)).await;
    let mut later = connect([127, 0, 0, 1], agent).await;
    later.write_all(ask.as_bytes()).await.unwrap();
    read_one(&mut later).await;
    connected([127, 0, 0, 1], agent).await;
    assert_eq!(log.text().matches("IMDSv1").count(), 2, "{}", log.text());

    let token = stand.put_token(POD, &[("x-aws-ec2-metadata-token-ttl-seconds", "60")]).await.body;
    stand.ask(POD, Method::GET, LIST, &[("x-aws-ec2-metadata-token", &token)]).await;
    assert_eq!(stand.metric(r#"kiam_metadata_requests_by_version_total{version="v1"}"#), Some(7.0));
    assert_eq!(stand.metric(r#"kiam_metadata_requests_by_version_total{version="v2"}"#), Some(1.0));
}
