//! The programs of iptables, run one at a time without a shell.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::time::timeout;

use crate::intercept::backend::Error;

/// How long to wait for others who change rules, in seconds.
const LOCK_WAIT: &str = "10";
/// How long a program may take in all.
const RUNS_AT_MOST: Duration = Duration::from_secs(20);
/// Where the programs are on a node, besides `PATH`.
const SYSTEM_PATHS: [&str; 4] = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"];

/// The programs for one IP version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    /// `iptables-…`
    V4,
    /// `ip6tables-…`
    V6,
}

impl Family {
    fn program(self, what: &str) -> String {
        match self {
            Self::V4 => format!("iptables-{what}"),
            Self::V6 => format!("ip6tables-{what}"),
        }
    }

    /// What a table has, with counters.
    pub(super) async fn save(self, table: &str) -> Result<String, Error> {
        run(&self.program("save"), &["-c", "-t", table], "").await
    }

    /// Has a script done, which leaves alone what it does not name.
    pub(super) async fn restore(self, script: &str) -> Result<(), Error> {
        run(&self.program("restore"), &["--noflush", "-w", LOCK_WAIT], script).await.map(drop)
    }

    /// Whether these programs write nftables, so that the kernel tells of changes.
    pub(super) async fn writes_nftables(self) -> Result<bool, Error> {
        Ok(run(&self.program("restore"), &["--version"], "").await?.contains("nf_tables"))
    }
}

async fn run(program: &str, arguments: &[&str], input: &str) -> Result<String, Error> {
    let failed = |said: String| Error::Program { program: program.into(), said };
    let mut command = Command::new(program);
    command.args(arguments).env("PATH", search_path()).kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|source| Error::NoProgram { program: program.into(), source })?;
    let mut stdin = child.stdin.take();
    let finished = timeout(RUNS_AT_MOST, async {
        if let Some(stdin) = &mut stdin {
            stdin.write_all(input.as_bytes()).await?;
        }
        drop(stdin);
        child.wait_with_output().await
    });
    match finished.await {
        Ok(Ok(output)) if output.status.success() => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        Ok(Ok(output)) => Err(failed(told(&output, input))),
        Ok(Err(error)) => Err(failed(format!("could not be run: {error}"))),
        Err(_) => Err(failed(format!("did not end within {} s", RUNS_AT_MOST.as_secs()))),
    }
}

/// `PATH` of the process, then where the programs usually are.
fn search_path() -> OsString {
    let given = std::env::var_os("PATH").unwrap_or_default();
    let paths = std::env::split_paths(&given).chain(SYSTEM_PATHS.map(PathBuf::from));
    std::env::join_paths(paths).unwrap_or(given)
}

/// How a program failed, in one line, with the line of its input that it names.
fn told(output: &Output, input: &str) -> String {
    let printed = String::from_utf8_lossy(&output.stderr);
    let mut lines: Vec<&str> = printed.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.truncate(2);
    let place = printed.split_once("line ").map(|(_, rest)| rest.trim_start_matches(':'));
    let number = place.and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse::<usize>().ok());
    let line = number.and_then(|number| input.lines().nth(number.checked_sub(1)?));
    let line = line.map(|line| format!(" at {line:?}")).unwrap_or_default();
    format!("ended with {}{line}: {}", output.status, lines.join(": "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_program_that_is_not_there_is_told_by_name() {
        let error = run("iptables-nowhere", &[], "").await.unwrap_err().to_string();
        assert!(error.starts_with("iptables-nowhere cannot be started: ") && error.contains("nftables"), "{error}");
    }

    #[tokio::test]
    async fn a_failure_is_told_in_one_line_with_what_was_wrong() {
        let fails =
            "cat >/dev/null; echo 'iptables-restore v1.8: unknown option' >&2; echo 'Error at line: 2' >&2; exit 2";
        let error = run("sh", &["-c", fails], "*nat\n-A X -j Y\nCOMMIT\n").await.unwrap_err().to_string();
        assert!(error.starts_with("sh ended with exit status: 2"), "{error}");
        assert!(error.contains("unknown option") && !error.contains('\n'), "{error}");
    }

    #[tokio::test]
    async fn the_line_at_fault_is_quoted() {
        let fails = "cat >/dev/null; echo 'iptables-restore: line 2 failed' >&2; exit 1";
        let error = run("sh", &["-c", fails], "*nat\n-A X -j Y\nCOMMIT\n").await.unwrap_err().to_string();
        assert!(error.contains("at \"-A X -j Y\": iptables-restore: line 2 failed"), "{error}");
    }
}
