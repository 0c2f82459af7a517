//! How long a scrape of 5,000 series takes, on a connection that is kept as Prometheus keeps it.
//!
//! `cargo bench -p kiam-tests --bench metrics`. The series are a third each of counters, gauges and the samples of
//! histograms, with the labels that the programs' own have.

use std::time::Duration;

use clap::Parser;
use http::header::{ACCEPT, ACCEPT_ENCODING};
use http::{HeaderName, Request};
use kiam_common::args::OpsArgs;
use kiam_common::ops::{Ops, Readiness};
use kiam_common::shutdown::Shutdown;
use kiam_tests::real::http::{Connection, LOCALHOST};
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry};
use tokio::time::Instant;

const COUNTERS: usize = 1700;
const GAUGES: usize = 1700;
/// Each has 12 buckets, the infinite one included, a sum and a count.
const HISTOGRAMS: usize = 1600 / 14;
const SCRAPES: usize = 500;
const TARGET: Duration = Duration::from_millis(2);

/// A form of the answer.
type Form = (&'static str, &'static [(HeaderName, &'static str)]);

const FORMS: [Form; 3] = [
    ("text", &[]),
    ("OpenMetrics", &[(ACCEPT, "application/openmetrics-text")]),
    ("text, gzip", &[(ACCEPT_ENCODING, "gzip")]),
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
    let ops = Ops::bind(&args, registry(), Readiness::default()).await.expect("a free port").expect("an address");
    let (address, shutdown) = (ops.local_addr(), Shutdown::new());
    let serving = tokio::spawn(ops.serve_apart(shutdown.clone()));
    println!("scrapes of about 5,000 series, {SCRAPES} of each form, one after the other:");
    println!("  form             bytes   median      p99");
    let mut fields = Vec::new();
    for (form, headers) in FORMS {
        let mut connection = Connection::open(LOCALHOST, address).await.expect("it listens");
        let (mut times, mut bytes) = (Vec::new(), String::new());
        for _ in 0..SCRAPES {
            let request =
                headers.iter().fold(Request::get("/metrics"), |request, (name, value)| request.header(name, *value));
            let start = Instant::now();
            let answer = connection.send(request.body(String::new()).expect("a request")).await.expect("an answer");
            times.push(start.elapsed());
            assert_eq!(answer.status, 200);
            bytes = answer.header("content-length").into();
        }
        times.sort_unstable();
        let (median, late) = (milliseconds(times[SCRAPES / 2]), milliseconds(times[SCRAPES * 99 / 100]));
        println!("  {form:<12} {bytes:>9} {median:>6.2} ms {late:>6.2} ms  (target {TARGET:?})");
        let name = form.to_lowercase().replace(", ", "_");
        fields.push(format!(r#""{name}_ms":{median:.3},"{name}_p99_ms":{late:.3}"#));
    }
    println!(r#"{{"bench":"metrics",{}}}"#, fields.join(","));
    shutdown.begin();
    serving.await.expect("the listener ends well");
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

fn registry() -> Registry {
    let registry = Registry::new();
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
    registry.register(Box::new(counters)).expect("a new name");
    registry.register(Box::new(gauges)).expect("a new name");
    registry.register(Box::new(histograms)).expect("a new name");
    registry
}
