//! The sandbox, as the README's first command runs it.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

fn sandbox() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kiam-sandbox"));
    command.env_remove("AWS_EC2_METADATA_DISABLED");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

#[tokio::test]
async fn the_tour_holds() {
    let output = sandbox().arg("--once").output().await.unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(told.contains("all of it holds") && !told.contains('✗'), "{told}");
}

/// A line of the running sandbox that has `text` in it, and the lines before it.
async fn until(child: &mut Child, text: &str) -> String {
    let stdout = child.stdout.as_mut().unwrap();
    let mut lines = BufReader::new(stdout).lines();
    let mut told = String::new();
    while let Some(line) = lines.next_line().await.unwrap() {
        told.push_str(&line);
        told.push('\n');
        if line.contains(text) {
            return told;
        }
    }
    panic!("{text:?} is not among\n{told}");
}

#[tokio::test]
async fn the_programs_end_with_the_sandbox_even_when_it_is_killed() {
    let mut child = sandbox().spawn().unwrap();
    let told = until(&mut child, "agent node-b").await;
    let address =
        |line: &str| line.split_whitespace().find_map(|word| word.strip_prefix("http://127.0.2.1:").map(str::to_owned));
    let port: u16 = told.lines().find_map(address).unwrap().parse().unwrap();
    let agent = ("127.0.2.1", port);
    assert!(tokio::net::TcpStream::connect(agent).await.is_ok());
    child.kill().await.unwrap();
    let gone = async {
        while tokio::net::TcpStream::connect(agent).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), gone).await.expect("the agent ends");
}

#[tokio::test]
async fn an_environment_that_silences_the_sdk_is_named() {
    let output = sandbox().env("AWS_EC2_METADATA_DISABLED", "true").arg("--once").output().await.unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && complaint.contains("AWS_EC2_METADATA_DISABLED"), "{complaint}");
}

#[tokio::test]
async fn pods_that_cannot_be_read_end_it_with_a_reason() {
    let output = sandbox().args(["--pods", "/no/such/file"]).output().await.unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && complaint.contains("/no/such/file"), "{complaint}");
}
