//! The real parts that the end-to-end tests run against: a Kubernetes API server with its etcd, moto as an STS that
//! nobody here wrote, Prometheus, and the AWS SDKs as pods use them.
//!
//! `tests/run` installs all of them and says where they are in environment variables. A test that misses one fails
//! and says so; it is never skipped. Each part is a child process on loopback that cannot outlive its test.

pub mod clients;
pub mod faketime;
pub mod helm;
pub mod http;
pub mod jwt;
pub mod kube_apiserver;
pub mod moto;
pub mod namespace;
pub mod process;
pub mod program;
pub mod prometheus;

use std::env;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How long anything on this machine may take to happen before a test gives up on it.
const PATIENCE: Duration = Duration::from_secs(30);

/// What `tests/run` installed under this name.
///
/// # Panics
/// If the variable is not set: the tests were started without the set-up.
pub fn installed(variable: &str) -> PathBuf {
    match env::var_os(variable) {
        Some(path) => path.into(),
        None => panic!("{variable} is not set: run the tests with ./tests/run, which installs what they need"),
    }
}

/// Asks again and again until there is an answer.
///
/// # Panics
/// If there is none after half a minute; `what` says what was waited for.
pub async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "gave up after {PATIENCE:?} waiting for {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// A port for a program that cannot be told to take any free one. It lies outside the range that the system hands
/// out, so that nobody else gets it between this call and the program's start.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Test programs that run side by side begin at different places.
    let begin = u16::try_from(std::process::id() % 100).unwrap_or(0) * 100;
    loop {
        let port = 20_000 + (begin + NEXT.fetch_add(1, Ordering::Relaxed)) % 10_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
