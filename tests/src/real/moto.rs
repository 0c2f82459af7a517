//! moto, an STS written by others: <https://docs.getmoto.org>. It lets everybody assume every role, and knows afterwards
//! who is who.

use std::process::Command;

use super::process::Process;
use super::{eventually, installed};

/// A running moto.
#[derive(Debug)]
pub struct Moto {
    url: String,
    _process: Process,
}

impl Moto {
    /// Starts it, which takes some seconds.
    pub async fn start() -> Self {
        let mut command = Command::new(installed("KIAM_TEST_MOTO_SERVER"));
        command.args(["-H", "127.0.0.1", "-p", "0"]);
        let dir = tempfile::tempdir().expect("a directory for moto").keep();
        let mut process = Process::start_with_own_directory("moto", &command, &dir);
        let url = eventually("moto to say where it listens", async || {
            process.assert_running();
            let log = process.log();
            let (_, rest) = log.split_once("Running on ")?;
            // A whole line: the port might be half written.
            Some(rest.split_once('\n')?.0.trim().to_owned())
        })
        .await;
        Self { url, _process: process }
    }

    /// What goes into `AWS_ENDPOINT_URL_STS`.
    pub fn url(&self) -> &str {
        &self.url
    }
}
