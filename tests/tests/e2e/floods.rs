//! One pod, or many, at their worst: the others are served meanwhile. How long that takes is printed, next to how long
//! it takes when all is quiet.

use std::future::pending;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use http::StatusCode;
use kiam_common::testing::metrics::value;
use kiam_tests::real::eventually;
use kiam_tests::real::http::{connect, get, send_raw};
use kiam_tests::real::program::Invocation;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::emulated::{Emulated, ask_for};
use crate::world::{PROGRAMS, metrics};

const ATTACKER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 66, 0, 1));
const PING: &[u8] = b"GET /ping HTTP/1.1\r\nHost: h\r\n\r\n";
/// More than the agent gives to one pod.
const MANY: usize = 200;
/// How often the quiet pod asks, each time on a new connection, as SDKs do.
const ASKED: usize = 300;

/// Begins an attack, which goes on until it is dropped.
type Attack = fn(SocketAddr) -> JoinSet<()>;

/// The time within which 99 of 100 requests of a pod were answered; all were.
async fn p99(agent: SocketAddr, pod: IpAddr) -> Duration {
    let mut times = Vec::new();
    for _ in 0..ASKED {
        let started = Instant::now();
        let answer = ask_for(agent, pod, "reader").await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        times.push(started.elapsed());
    }
    times.sort();
    times[ASKED * 99 / 100]
}

/// Another pod asks before and during the attack. The series, if any, says that the attack has come to its limit.
async fn others_are_served(change: fn(Invocation) -> Invocation, name: &str, attack: Attack, limit: Option<&str>) {
    let around = Emulated::start().await;
    let server = around.logs.start("server", &around.server()).await;
    let agent = change(around.agent(server.addresses().main)).flag("--level", "info");
    let program = around.logs.start("agent", &agent).await;
    let (agent, pod) = (program.addresses().main, around.run_pod("reader", "reader"));
    eventually("the pod to be known", async || {
        Some(ask_for(agent, pod, "reader").await).filter(|answer| answer.status == StatusCode::OK)
    })
    .await;
    let quiet = p99(agent, pod).await;
    let attacking = attack(agent);
    if let Some(series) = limit {
        eventually("the limit", async || value(&metrics(&program).await, series).filter(|refused| *refused > 0.0))
            .await;
    }
    let attacked = p99(agent, pod).await;
    println!("{name}: p99 of another pod {attacked:?}, when all is quiet {quiet:?}");
    drop(attacking);
    assert_eq!(get(pod, agent, "/ping").await.body, "pong");
}

/// `MANY` of the same, side by side.
fn many<F: Future<Output = ()> + Send + 'static>(one: impl Fn() -> F) -> JoinSet<()> {
    (0..MANY).map(|_| one()).collect()
}

/// Connections that begin a request and never end it.
fn slow_heads(agent: SocketAddr) -> JoinSet<()> {
    many(move || async move {
        let mut stream = connect(ATTACKER, agent).await.expect("the port is open");
        let _written = stream.write_all(b"GET /ping HTTP/1.1\r\nHost: ").await;
        pending::<()>().await;
        drop(stream);
    })
}

/// Connections that ask, close their side, and take no answer.
fn half_closed(agent: SocketAddr) -> JoinSet<()> {
    many(move || async move {
        let mut stream = connect(ATTACKER, agent).await.expect("the port is open");
        let _written = stream.write_all(PING).await;
        let _closed = stream.shutdown().await;
        pending::<()>().await;
        drop(stream);
    })
}

/// Connections that ask without end and take no answer.
fn unread_answers(agent: SocketAddr) -> JoinSet<()> {
    many(move || async move {
        let mut stream = connect(ATTACKER, agent).await.expect("the port is open");
        while stream.write_all(&PING.repeat(1000)).await.is_ok() {}
        pending::<()>().await;
        drop(stream);
    })
}

/// Heads of a megabyte, one after the other.
fn huge_heads(agent: SocketAddr) -> JoinSet<()> {
    let head = format!("GET /ping HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "x".repeat(1 << 20));
    let again_and_again = move |head: String| async move {
        loop {
            let mut stream = connect(ATTACKER, agent).await.expect("the port is open");
            // Refused before all of it is sent.
            let _written = stream.write_all(head.as_bytes()).await;
            let _ended = stream.read_to_end(&mut Vec::new()).await;
        }
    };
    (0..4).map(|_| again_and_again(head.clone())).collect()
}

/// New connections, as many as it can make.
fn flood(agent: SocketAddr) -> JoinSet<()> {
    let again_and_again = move || async move {
        loop {
            let mut stream = connect(ATTACKER, agent).await.expect("the port is open");
            let _written = stream.write_all(PING).await;
            let _answered = stream.read_u8().await;
        }
    };
    (0..16).map(|_| again_and_again()).collect()
}

/// A whole node of pods that take all the connections they can get.
fn crowd(agent: SocketAddr) -> JoinSet<()> {
    let one = move |pod: u8| async move {
        let mut held = Vec::new();
        for _ in 0..20 {
            let mut stream = connect(IpAddr::from([127, 66, 1, pod]), agent).await.expect("the port is open");
            let _written = stream.write_all(PING).await;
            held.push(stream);
        }
        pending::<()>().await;
        drop(held);
    };
    (0..40).map(one).collect()
}

const TOO_MANY: Option<&str> = Some(r#"kiam_metadata_refused_total{reason="TooManyConnections"}"#);

#[tokio::test(flavor = "multi_thread")]
async fn slow_clients_keep_nobody_else_out() {
    others_are_served(|agent| agent, "slow heads", slow_heads, TOO_MANY).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn half_closed_connections_keep_nobody_else_out() {
    others_are_served(|agent| agent, "half-closed connections", half_closed, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_nobody_takes_keep_nobody_else_out() {
    others_are_served(|agent| agent, "unread answers", unread_answers, TOO_MANY).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_of_a_megabyte_keep_nobody_else_out() {
    others_are_served(|agent| agent, "heads of a megabyte", huge_heads, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_connections_keeps_nobody_else_out() {
    others_are_served(|agent| agent, "a flood", flood, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_few_descriptors_a_crowd_keeps_nobody_else_out() {
    let few = |agent: Invocation| agent.run_by("prlimit", &["--nofile=256:256", PROGRAMS, "agent"]);
    others_are_served(few, "a crowd, with 256 descriptors", crowd, None).await;
}

#[tokio::test]
async fn an_agent_without_descriptors_says_so_once_and_recovers() {
    let around = Emulated::start().await;
    let agent = around.agent("127.0.0.1:1").run_by("prlimit", &["--nofile=32:32", PROGRAMS, "agent"]);
    let agent = around.logs.start("agent", &agent).await;
    let address = agent.addresses().ops;
    // The metrics port takes 64 connections, so the descriptors end first.
    let held = futures_util::future::join_all((0..64).map(|_| connect(ATTACKER, address))).await;
    eventually("the complaint", async || around.logs.read().contains("cannot accept a connection").then_some(())).await;
    drop(held);
    let answer = send_raw(ATTACKER, address, b"GET /live HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(around.logs.read().contains("too few file descriptors"), "{}", around.logs.read());
    assert_eq!(around.logs.read().matches("cannot accept a connection").count(), 1);
}
