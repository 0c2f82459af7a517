//! The listener over real connections on loopback.

mod doors;
mod fleet;

use std::collections::HashMap;
use std::time::Duration;

use clap::Parser;
use prometheus::IntCounter;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;
use crate::testing::metrics::value;

/// A program that has a listener.
#[derive(Parser)]
#[command(args_override_self = true)]
struct Program {
    #[command(flatten)]
    ops: OpsArgs,
}

fn args(flags: &str) -> OpsArgs {
    let line = format!("kiam --prometheus-listen-addr=127.0.0.1:0 {flags}");
    Program::parse_from(line.split_whitespace()).ops
}

struct Running {
    address: SocketAddr,
    registry: Registry,
    readiness: Readiness,
    identity: Option<Arc<Identity>>,
    shutdown: Shutdown,
    serving: tokio::task::JoinHandle<()>,
}

async fn start() -> Running {
    start_with(&args(""), None).await
}

async fn start_with(args: &OpsArgs, access: Option<Arc<dyn Access>>) -> Running {
    let mut ops = Ops::bind(args, Registry::new(), Readiness::default()).await.unwrap().unwrap();
    if let Some(access) = access {
        ops = ops.guarded_by(access, args.metrics.auth());
    }
    run(ops)
}

fn run(ops: Ops) -> Running {
    let (registry, readiness, shutdown) = (ops.pages.registry.clone(), ops.pages.readiness.clone(), Shutdown::new());
    let (address, identity, ended) = (ops.local_addr(), ops.identity.clone(), shutdown.clone());
    let serving = tokio::spawn(async move { ops.serve(ended).await.unwrap() });
    Running { address, registry, readiness, identity, shutdown, serving }
}

/// The whole answer to one request on a connection of its own.
async fn ask(address: SocketAddr, method: &str, path: &str) -> String {
    ask_over(TcpStream::connect(address).await.unwrap(), method, path, "").await
}

async fn ask_over(mut stream: impl AsyncRead + AsyncWrite + Unpin, method: &str, path: &str, headers: &str) -> String {
    let request = format!("{method} {path} HTTP/1.1\r\nhost: kiam\r\n{headers}connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap()
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").unwrap().1
}

#[tokio::test]
async fn live_is_ok_whatever_is_not_ready() {
    let running = start().await;
    let _pods = running.readiness.blocker("pods");
    let live = ask(running.address, "GET", "/live").await;
    assert_eq!((status(&live), body(&live)), ("200", "ok\n"));
}

#[tokio::test]
async fn ready_names_what_it_waits_for() {
    let running = start().await;
    let (pods, namespaces) = (running.readiness.blocker("pods"), running.readiness.blocker("namespaces"));
    let waiting = ask(running.address, "GET", "/ready").await;
    assert_eq!((status(&waiting), body(&waiting)), ("503", "namespaces\npods\n"));
    pods.clear();
    namespaces.clear();
    let ready = ask(running.address, "GET", "/ready").await;
    assert_eq!((status(&ready), body(&ready)), ("200", "ready\n"));
}

#[tokio::test]
async fn metrics_are_prometheus_text_with_the_process_and_the_build() {
    let running = start().await;
    let answered = IntCounter::new("answered_total", "Answers.").unwrap();
    running.registry.register(Box::new(answered.clone())).unwrap();
    answered.inc_by(7);
    let metrics = ask(running.address, "GET", "/metrics").await;
    assert_eq!(status(&metrics), "200");
    assert!(metrics.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{metrics}");
    let text = body(&metrics);
    assert_eq!(value(text, "answered_total"), Some(7.0));
    assert_eq!(value(text, &format!("kiam_build_info{{version=\"{}\"}}", crate::VERSION)), Some(1.0));
    assert!(value(text, "process_resident_memory_bytes").unwrap() > 0.0);
}

#[tokio::test]
async fn only_get_and_head_and_only_known_pages() {
    let running = start().await;
    let head = ask(running.address, "HEAD", "/live").await;
    assert_eq!((status(&head), body(&head)), ("200", ""));
    assert!(head.contains("content-length: 3\r\n"), "{head}");
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let refused = ask(running.address, method, "/metrics").await;
        assert_eq!(status(&refused), "405", "{method}");
        assert!(refused.contains("allow: GET, HEAD\r\n"), "{refused}");
    }
    for path in ["/", "/metrics/", "/debug/pprof/profile"] {
        assert_eq!(status(&ask(running.address, "GET", path).await), "404", "{path}");
    }
}

#[tokio::test]
async fn slow_clients_do_not_keep_others_from_an_answer() {
    let running = start().await;
    let mut slow = Vec::new();
    for _ in 0..20 {
        let mut tcp = TcpStream::connect(running.address).await.unwrap();
        tcp.write_all(b"GET /metrics HTTP/1.1\r\nhost:").await.unwrap();
        slow.push(tcp);
    }
    assert_eq!(status(&ask(running.address, "GET", "/live").await), "200");
}

#[tokio::test]
async fn whoever_hoards_connections_keeps_nobody_out() {
    let running = start().await;
    let mut hoard = Vec::new();
    for _ in 0..200 {
        hoard.push(TcpStream::connect(running.address).await.unwrap());
    }
    assert_eq!(status(&ask(running.address, "GET", "/live").await), "200");
    assert_eq!(hoard[0].read(&mut [0]).await.unwrap_or_default(), 0, "the oldest has given way");
}

#[tokio::test]
async fn the_listener_answers_while_the_programs_runtime_is_busy() {
    let (registry, shutdown) = (Registry::new(), Shutdown::new());
    let ops = Ops::bind(&args(""), registry, Readiness::default()).await.unwrap().unwrap();
    let (address, serving) = (ops.local_addr(), tokio::spawn(ops.serve_apart(shutdown.clone())));
    tokio::task::yield_now().await;
    // Blocks the only thread of this runtime until there is an answer.
    let mut tcp = net::TcpStream::connect(address).unwrap();
    io::Write::write_all(&mut tcp, b"GET /live HTTP/1.1\r\nhost: kiam\r\nconnection: close\r\n\r\n").unwrap();
    assert_eq!(status(&io::read_to_string(tcp).unwrap()), "200");
    shutdown.begin();
    serving.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_client_that_sends_no_whole_request_is_hung_up_on() {
    let running = start().await;
    let mut slow = TcpStream::connect(running.address).await.unwrap();
    slow.write_all(b"GET /metrics HTTP/1.1\r\nhost:").await.unwrap();
    let mut answer = Vec::new();
    slow.read_to_end(&mut answer).await.unwrap();
    assert!(!String::from_utf8_lossy(&answer).contains(" 200 "));
}

#[tokio::test]
async fn shutdown_ends_the_listener() {
    let running = start().await;
    running.shutdown.begin();
    running.serving.await.unwrap();
}

#[tokio::test]
async fn an_empty_address_is_no_listener_and_a_bad_one_names_its_flag() {
    assert!(
        Ops::bind(&args("--prometheus-listen-addr="), Registry::new(), Readiness::default()).await.unwrap().is_none()
    );
    let nonsense = args("--prometheus-listen-addr=nonsense");
    let error = Ops::bind(&nonsense, Registry::new(), Readiness::default()).await.unwrap_err().to_string();
    assert!(error.starts_with("--prometheus-listen-addr nonsense: cannot listen: "), "{error}");
}

#[tokio::test]
async fn profiles_have_a_listener_of_their_own() {
    assert!(Pprof::bind(&args("")).await.unwrap().is_none());
    let pprof = Pprof::bind(&args("--pprof-listen-addr=127.0.0.1:0")).await.unwrap().unwrap();
    let (address, shutdown) = (pprof.local_addr(), Shutdown::new());
    let serving = tokio::spawn(pprof.serve(shutdown.clone()));
    assert_eq!(status(&ask(address, "GET", "/debug/pprof/profile?seconds=0").await), "400");
    assert_eq!(status(&ask(address, "GET", "/metrics").await), "404");
    shutdown.begin();
    serving.await.unwrap();
}

/// Counts how often it is read.
struct Reads(IntCounter);

impl Collector for Reads {
    fn desc(&self) -> Vec<&Desc> {
        self.0.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.0.inc();
        self.0.collect()
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_sampled_is_read_at_most_once_an_interval() {
    let reads = IntCounter::new("reads_total", "Reads.").unwrap();
    let sampled = Sampled::new(Reads(reads.clone()), Duration::from_secs(5));
    for (advance, expected) in [(0, 1), (4, 1), (1, 2), (4, 2), (60, 3)] {
        tokio::time::advance(Duration::from_secs(advance)).await;
        sampled.collect();
        assert_eq!(reads.get(), expected, "{advance} s later");
    }
}

/// A collector with a family that no format can show.
struct Nameless(Desc);

impl Collector for Nameless {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.0]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut families = IntCounter::new("kiam_x_total", "X").unwrap().collect();
        for family in &mut families {
            family.set_name(String::new());
        }
        families
    }
}

#[tokio::test]
async fn a_scrape_that_cannot_be_answered_is_counted() {
    let running = start().await;
    let before = ask(running.address, "GET", "/metrics").await;
    assert_eq!(value(body(&before), "kiam_metric_errors_total"), Some(0.0));
    let desc = Desc::new("kiam_x_total".into(), "X".into(), Vec::new(), HashMap::new()).unwrap();
    running.registry.register(Box::new(Nameless(desc))).unwrap();
    assert_eq!(status(&ask(running.address, "GET", "/metrics").await), "500");
    let other = ask(running.address, "GET", "/metrics?name[]=kiam_metric_errors_total").await;
    assert_eq!(value(body(&other), "kiam_metric_errors_total"), Some(1.0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_runtime_tells_of_its_workers_and_tasks() {
    let running = start().await;
    let idle = tokio::spawn(std::future::pending::<()>());
    let metrics = ask(running.address, "GET", "/metrics").await;
    let read = |series: &str| value(body(&metrics), series).unwrap();
    assert_eq!(value(body(&metrics), "kiam_runtime_workers"), Some(2.0));
    assert!(read("kiam_runtime_alive_tasks") >= 2.0);
    assert!(read("kiam_runtime_global_queue_depth") >= 0.0);
    assert!(read("kiam_runtime_busy_seconds_total") >= 0.0);
    idle.abort();
}
