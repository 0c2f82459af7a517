//! How long a scrape of 5,000 series takes, on a connection that is kept as Prometheus keeps it: from the first byte of
//! the request to the last of the answer.
//!
//! `cargo bench -p kiam-tests --bench metrics`. The series are a third each of counters, gauges and the samples of
//! histograms, with the labels that the programs' own have. The client is a thread that reads bytes and does not look at
//! them: what a scraper does with them is not the program's time. Of that, gathering is measured on its own too, beside the
//! prometheus crate's, in turns.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use kiam_common::args::OpsArgs;
use kiam_common::ops::{Ops, Readiness};
use kiam_common::registry::Registry;
use kiam_common::shutdown::Shutdown;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts};
use tokio::task::spawn_blocking;
use tokio::time::Instant;

const COUNTERS: usize = 1700;
const GAUGES: usize = 1700;
/// Each has 12 buckets, the infinite one included, a sum and a count.
const HISTOGRAMS: usize = 1600 / 14;
const SCRAPES: usize = 500;
const TARGET: Duration = Duration::from_millis(2);

/// The largest answer, in bytes.
const ANSWER_MAX: usize = 1 << 20;

/// The forms of the answer, and the headers that ask for them.
const FORMS: [(&str, &str); 3] = [
    ("text", ""),
    ("OpenMetrics", "Accept: application/openmetrics-text\r\n"),
    ("text, gzip", "Accept-Encoding: gzip\r\n"),
];

/// A program that has a listener.
#[derive(Parser)]
struct Program {
    #[command(flatten)]
    ops: OpsArgs,
}

#[tokio::main]
async fn main() {
    let args = Program::parse_from(["bench", "--prometheus-listen-addr=127.0.0.1:0"]).ops;
    let (registry, theirs) = (Registry::new(), prometheus::Registry::new());
    for collector in collectors() {
        registry.register(Box::new(Both(Arc::clone(&collector)))).expect("a new name");
        theirs.register(Box::new(Both(collector))).expect("a new name");
    }
    let ops = Ops::bind(&args, registry.clone(), Readiness::default()).await.expect("a free port").expect("an address");
    let (address, shutdown) = (ops.local_addr(), Shutdown::new());
    let serving = tokio::spawn(ops.serve_apart(shutdown.clone()));
    println!("scrapes of about 5,000 series, {SCRAPES} of each form, one after the other:");
    println!("  form             bytes   median      p99");
    let mut fields = Vec::new();
    for (form, headers) in FORMS {
        let (times, bytes) = spawn_blocking(move || scrape(address, headers)).await.expect("answers");
        let (median, late) = quantiles(times);
        println!("  {form:<12} {bytes:>9} {median:>6.2} ms {late:>6.2} ms  (target {TARGET:?})");
        let name = form.to_lowercase().replace(", ", "_");
        fields.push(format!(r#""{name}_ms":{median:.3},"{name}_p99_ms":{late:.3}"#));
    }
    let (own, theirs) = spawn_blocking(move || gatherings(&registry, &theirs)).await.expect("families");
    println!("  gathering: {own:.2} ms, by the prometheus crate {theirs:.2} ms");
    fields.push(format!(r#""gather_ms":{own:.3},"gather_crate_ms":{theirs:.3}"#));
    println!(r#"{{"bench":"metrics",{}}}"#, fields.join(","));
    shutdown.begin();
    serving.await.expect("the listener ends well");
}

/// How long each scrape took, and the length of the last answer in bytes, its head included.
fn scrape(address: SocketAddr, headers: &str) -> (Vec<Duration>, usize) {
    let request = format!("GET /metrics HTTP/1.1\r\nHost: bench\r\n{headers}\r\n");
    let mut stream = TcpStream::connect(address).expect("it listens");
    let (mut buffer, mut length) = (vec![0; ANSWER_MAX], 0);
    let times = (0..SCRAPES).map(|_| {
        let start = Instant::now();
        stream.write_all(request.as_bytes()).expect("it reads");
        length = answer(&mut stream, &mut buffer);
        start.elapsed()
    });
    (times.collect(), length)
}

/// Reads one answer; its length.
fn answer(stream: &mut TcpStream, buffer: &mut [u8]) -> usize {
    let (mut read, mut length) = (0, None);
    while length.is_none_or(|length| read < length) {
        let more = stream.read(&mut buffer[read..]).expect("the connection is kept");
        assert_ne!(more, 0, "the connection is kept");
        read += more;
        length = length.or_else(|| announced(&buffer[..read]));
    }
    read
}

/// The length of the answer that begins so, once its head is there.
fn announced(answer: &[u8]) -> Option<usize> {
    const END: &[u8] = b"\r\n\r\n";
    let head = answer.windows(END.len()).position(|bytes| bytes == END)?;
    let text = String::from_utf8_lossy(&answer[..head]).to_lowercase();
    assert!(text.starts_with("http/1.1 200 "), "{text}");
    let body = text.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
    Some(head + END.len() + body.parse::<usize>().expect("a number"))
}

/// The medians, in milliseconds, of gathering by our registry and by the crate's.
fn gatherings(own: &Registry, theirs: &prometheus::Registry) -> (f64, f64) {
    let time = |gather: &dyn Fn() -> Vec<MetricFamily>| {
        let start = Instant::now();
        drop(gather());
        start.elapsed()
    };
    let turns = (0..SCRAPES).map(|_| (time(&|| own.gather()), time(&|| theirs.gather())));
    let (own, theirs): (Vec<_>, Vec<_>) = turns.unzip();
    (quantiles(own).0, quantiles(theirs).0)
}

/// The median and the 99th of a hundred, in milliseconds.
fn quantiles(mut times: Vec<Duration>) -> (f64, f64) {
    times.sort_unstable();
    (milliseconds(times[times.len() / 2]), milliseconds(times[times.len() * 99 / 100]))
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// The same series for both registries.
struct Both(Arc<dyn Collector>);

impl Collector for Both {
    fn desc(&self) -> Vec<&Desc> {
        self.0.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.0.collect()
    }
}

fn collectors() -> [Arc<dyn Collector>; 3] {
    let labels = ["handler", "code"];
    let counters = IntCounterVec::new(Opts::new("kiam_bench_responses_total", "Responses."), &labels);
    let gauges = IntGaugeVec::new(Opts::new("kiam_bench_bindings", "Bindings."), &labels);
    let histograms = HistogramVec::new(HistogramOpts::new("kiam_bench_latency_seconds", "Latency."), &labels);
    let (counters, gauges) = (counters.expect("a name"), gauges.expect("a name"));
    let histograms = histograms.expect("a name");
    for n in 0..COUNTERS {
        counters.with_label_values(&["credentials", &n.to_string()]).inc_by(n as u64 * 1000);
    }
    for n in 0..GAUGES {
        gauges.with_label_values(&["credentials", &n.to_string()]).set(7);
    }
    for n in 0..HISTOGRAMS {
        histograms.with_label_values(&["credentials", &n.to_string()]).observe(0.1);
    }
    [Arc::new(counters), Arc::new(gauges), Arc::new(histograms)]
}
