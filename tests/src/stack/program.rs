//! One of the product's programs, running as a child process: the sandbox binary executed again as `server …` or
//! `agent …`. Its log goes to a file; its addresses are read from what it says of itself in that log.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdin, Command};
use tokio::sync::watch;
use tokio::time::timeout;

/// How long a program may take to listen, or to stop after SIGTERM.
const PATIENCE: Duration = Duration::from_secs(20);

/// What to run.
#[derive(Clone, Debug)]
pub struct Spec {
    /// What it is called here: `server`, `node-a`.
    pub name: String,
    /// The sandbox binary.
    pub binary: PathBuf,
    /// The leading word and the flags; `--json-log` must be among them.
    pub arguments: Vec<String>,
    /// Its whole environment.
    pub environment: Vec<(String, String)>,
    /// Where its log goes, as `<name>.log`.
    pub directory: PathBuf,
}

/// Where a program listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// gRPC of a server, metadata of an agent.
    pub main: SocketAddr,
    /// `/metrics`, `/live` and `/ready`.
    pub ops: SocketAddr,
}

/// Why a program does not run.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// The system cannot start it.
    #[error("cannot start {name}: {source}")]
    Spawn {
        /// The program.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// It ended, or said nothing, before it listened.
    #[error("{name} does not run; its log ends with\n{log}")]
    Silent {
        /// The program.
        name: String,
        /// The last lines of its log.
        log: String,
    },
}

/// A running program; dropping it kills it.
#[derive(Debug)]
pub struct Program {
    spec: Spec,
    child: Child,
    addresses: Addresses,
    /// Held apart from the child: waiting for a child closes its standard input, and so would end it early.
    _leash: Option<ChildStdin>,
}

impl Program {
    /// Starts a program and waits until it listens.
    pub async fn start(spec: Spec) -> Result<Self, ProgramError> {
        let mut child = spawn(&spec).map_err(|source| ProgramError::Spawn { name: spec.name.clone(), source })?;
        let (announce, mut announced) = watch::channel(None);
        let (stderr, leash) = (child.stderr.take().expect("it is piped"), child.stdin.take());
        tokio::spawn(keep_log(stderr, spec.log(), announce));
        let addresses = match timeout(PATIENCE, announced.wait_for(Option::is_some)).await {
            Ok(Ok(addresses)) => *addresses,
            Ok(Err(_)) | Err(_) => None,
        };
        match addresses {
            Some(addresses) => Ok(Self { spec, child, addresses, _leash: leash }),
            None => Err(ProgramError::Silent { log: last_lines(&spec.log()), name: spec.name }),
        }
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// The binary that it is.
    pub fn binary(&self) -> &Path {
        &self.spec.binary
    }

    /// Its process, while it runs.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Where it listens.
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// The file with its log.
    pub fn log(&self) -> PathBuf {
        self.spec.log()
    }

    /// The end of its log.
    pub fn last_lines(&self) -> String {
        last_lines(&self.log())
    }

    /// Kills it at once, as a machine that loses power does.
    pub async fn kill(&mut self) -> io::Result<()> {
        self.child.kill().await
    }

    /// Asks it to stop, by SIGTERM, and waits until it has; kills it if that takes too long.
    pub async fn stop(&mut self) -> io::Result<ExitStatus> {
        if let Some(pid) = self.child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)) {
            kill_process(pid, Signal::TERM)?;
        }
        if let Ok(ended) = timeout(PATIENCE, self.child.wait()).await {
            return ended;
        }
        self.kill().await?;
        self.child.wait().await
    }

    /// Starts it again, after it was killed or stopped, with another value for one of its flags: the one that makes
    /// it listen where it did.
    pub async fn start_again(&mut self, flag: &str, value: String) -> Result<(), ProgramError> {
        let mut spec = self.spec.clone();
        let position = spec.arguments.iter().position(|argument| argument == flag);
        spec.arguments[position.expect("the flag was given before") + 1] = value;
        *self = Self::start(spec).await?;
        Ok(())
    }
}

impl Spec {
    fn log(&self) -> PathBuf {
        self.directory.join(format!("{}.log", self.name))
    }
}

fn spawn(spec: &Spec) -> io::Result<Child> {
    Command::new(&spec.binary)
        .args(&spec.arguments)
        .env_clear()
        .envs(spec.environment.iter().cloned())
        .current_dir(&spec.directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        // A group of its own: Ctrl-C at the terminal is for the parent, which stops its children in order.
        .process_group(0)
        .spawn()
}

/// Copies the log to its file, and announces the addresses when it comes to the line that has them.
async fn keep_log(stderr: ChildStderr, log: PathBuf, announce: watch::Sender<Option<Addresses>>) {
    let Ok(mut file) = tokio::fs::File::options().create(true).append(true).open(log).await else { return };
    let mut lines = BufReader::new(stderr).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if announce.borrow().is_none() {
            announce.send_replace(addresses(&line));
        }
        let written = file.write_all(format!("{line}\n").as_bytes()).await;
        if written.is_err() || file.flush().await.is_err() {
            return;
        }
    }
}

fn addresses(line: &str) -> Option<Addresses> {
    let event: Value = serde_json::from_str(line).ok()?;
    let field = |name: &str| event[name].as_str()?.parse().ok();
    Some(Addresses { main: field("metadata_addr").or_else(|| field("grpc_addr"))?, ops: field("ops_addr")? })
}

fn last_lines(log: &Path) -> String {
    let log = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(10)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_from_what_a_program_says_of_itself() {
        let line = r#"{"message":"the agent answers","metadata_addr":"127.0.1.1:3100","ops_addr":"[::1]:9620"}"#;
        let expected = Addresses { main: ([127, 0, 1, 1], 3100).into(), ops: "[::1]:9620".parse().unwrap() };
        assert_eq!(addresses(line), Some(expected));
        assert_eq!(addresses(r#"{"message":"something else"}"#), None);
    }
}
