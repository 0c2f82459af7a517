//! A real Prometheus and its `promtool`.

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use http::Request;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::http::{LOCALHOST, try_send};
use super::process::Process;
use super::{eventually, free_port, installed};

/// A running Prometheus.
#[derive(Debug)]
pub struct Prometheus {
    addr: SocketAddr,
    _process: Process,
    _dir: TempDir,
}

impl Prometheus {
    /// Starts one that scrapes these targets every 200 ms; each is a job and its address.
    pub fn scraping(targets: &[(&str, SocketAddr)]) -> Self {
        let dir = tempfile::tempdir().expect("a directory for Prometheus");
        let jobs: Vec<Value> = targets
            .iter()
            .map(|(job, addr)| json!({"job_name": job, "static_configs": [{"targets": [addr.to_string()]}]}))
            .collect();
        let config = json!({
            "global": {"scrape_interval": "200ms", "scrape_timeout": "200ms"},
            "scrape_configs": jobs,
        });
        // JSON is YAML.
        fs::write(dir.path().join("prometheus.yml"), config.to_string()).expect("the configuration can be written");
        let port = free_port();
        let mut command = Command::new(installed("KIAM_TEST_PROMETHEUS"));
        command.args(["--config.file=prometheus.yml", "--storage.tsdb.path=tsdb", "--log.level=warn"]);
        command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
        let process = Process::start("prometheus", &command, dir.path());
        Self { addr: (LOCALHOST, port).into(), _process: process, _dir: dir }
    }

    /// Waits until the query has a result that is not empty: its samples, each with labels and value.
    pub async fn query(&self, query: &str) -> Vec<Sample> {
        eventually(&format!("Prometheus to answer {query}"), async || self.ask(query).await).await
    }

    async fn ask(&self, query: &str) -> Option<Vec<Sample>> {
        let query: String = form_urlencoded::byte_serialize(query.as_bytes()).collect();
        let request = Request::get(format!("/api/v1/query?query={query}")).body(String::new()).ok()?;
        let answer = try_send(LOCALHOST, self.addr, request).await.ok()?;
        let answer: Value = serde_json::from_str(&answer.body).ok()?;
        let samples: Vec<Sample> = answer["data"]["result"].as_array()?.iter().filter_map(Sample::read).collect();
        if samples.is_empty() { None } else { Some(samples) }
    }
}

/// One sample of a query's result.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The series' labels.
    pub labels: Value,
    /// Its value.
    pub value: f64,
}

impl Sample {
    fn read(result: &Value) -> Option<Self> {
        Some(Self { labels: result["metric"].clone(), value: result["value"][1].as_str()?.parse().ok()? })
    }
}

/// What `promtool check metrics` complains about in a `/metrics` text, line by line.
pub fn lint(metrics: &str) -> Vec<String> {
    let mut command = Command::new(installed("KIAM_TEST_PROMTOOL"));
    command.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut promtool = command.spawn().expect("promtool starts");
    promtool.stdin.take().expect("a pipe").write_all(metrics.as_bytes()).expect("promtool reads");
    let output = promtool.wait_with_output().expect("promtool ends");
    // 3 is its exit code for style alone.
    assert!(matches!(output.status.code(), Some(0 | 3)), "promtool: {output:?}");
    String::from_utf8_lossy(&output.stderr).lines().map(Into::into).collect()
}
