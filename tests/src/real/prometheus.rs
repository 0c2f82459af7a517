//! A real Prometheus and its `promtool`.

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use http::Request;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::http::{LOCALHOST, try_send};
use super::process::Process;
use super::{eventually, free_port, installed};

/// The file that it reads first.
pub const CONFIGURATION: &str = "prometheus.yaml";

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
        let jobs: Vec<Value> = targets
            .iter()
            .map(|(job, addr)| json!({"job_name": job, "static_configs": [{"targets": [addr.to_string()]}]}))
            .collect();
        let config = json!({
            "global": {"scrape_interval": "200ms", "scrape_timeout": "200ms"},
            "scrape_configs": jobs,
        });
        // JSON is YAML.
        Self::with_files(&[(CONFIGURATION, config.to_string())])
    }

    /// Starts one with these files in its directory, [`CONFIGURATION`] among them.
    pub fn with_files(files: &[(&str, String)]) -> Self {
        let dir = tempfile::tempdir().expect("a directory for Prometheus");
        for (name, text) in files {
            fs::write(dir.path().join(name), text).expect("a file of Prometheus' can be written");
        }
        let port = free_port();
        let mut command = Command::new(installed("KIAM_TEST_PROMETHEUS"));
        command.arg(format!("--config.file={CONFIGURATION}"));
        command.args(["--storage.tsdb.path=tsdb", "--log.level=warn"]);
        command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
        let process = Process::start("prometheus", &command, dir.path());
        Self { addr: (LOCALHOST, port).into(), _process: process, _dir: dir }
    }

    /// Waits until the query has a result that is not empty: its samples, each with labels and value.
    pub async fn query(&self, query: &str) -> Vec<Sample> {
        eventually(&format!("Prometheus to answer {query}"), async || {
            self.evaluate(query).await.ok().filter(|samples| !samples.is_empty())
        })
        .await
    }

    /// The samples of the query's result now, or why there is none.
    pub async fn evaluate(&self, query: &str) -> Result<Vec<Sample>, String> {
        let query: String = form_urlencoded::byte_serialize(query.as_bytes()).collect();
        let data = self.get(&format!("/api/v1/query?query={query}")).await?;
        let results = data["result"].as_array().ok_or("a result that is no vector")?;
        Ok(results.iter().filter_map(Sample::read).collect())
    }

    /// The `data` that its API answers at this path, or the error.
    pub async fn get(&self, path: &str) -> Result<Value, String> {
        let request = Request::get(path).body(String::new()).map_err(|error| error.to_string())?;
        let answer = try_send(LOCALHOST, self.addr, request).await.map_err(|error| error.to_string())?;
        let mut answer: Value = serde_json::from_str(&answer.body).map_err(|error| error.to_string())?;
        match answer["error"].as_str() {
            None => Ok(answer["data"].take()),
            Some(error) => Err(error.into()),
        }
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

/// Runs `promtool` on files, in a directory; what it says, and whether all is well.
pub fn promtool(directory: &Path, arguments: &[&str]) -> (bool, String) {
    let mut command = Command::new(installed("KIAM_TEST_PROMTOOL"));
    let output = command.args(arguments).current_dir(directory).output().expect("promtool starts");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
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
