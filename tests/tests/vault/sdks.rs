//! Real SDKs in pods that live for hours, at the default settings: their own refreshes always find credentials with a
//! good life before them.
//!
//! An hour takes twenty seconds: STS tells the clients, whose clocks run as fast, of an hour, and the server, whose
//! clock does not, of twenty seconds.

use std::collections::HashSet;
use std::path::Path;
use std::process::Stdio;

use kiam_tests::real::{eventually, faketime, installed};
use kiam_tests::stack::{Relay, Stack};
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, Command};

use crate::restart::{add_pod, stack};

/// How many times as fast time passes.
const PACE: i32 = 180;
/// The keys that a client has had after three refreshes.
const KEYS: usize = 4;

/// What a client wrote to standard error while it refreshed its credentials three times.
async fn three_refreshes(mut command: Command) -> String {
    let stack = stack().await;
    stack.sts.set_pace(PACE);
    let pod = add_pod(&stack, 0);
    let relay = Relay::start(pod, stack.nodes[0].agent.addresses().main).await.unwrap();
    let home = tempfile::tempdir().unwrap();
    command.arg(stack.sts.url()).current_dir(home.path()).env("HOME", home.path());
    command
        .env("AWS_EC2_METADATA_SERVICE_ENDPOINT", format!("http://{}", relay.addr()))
        .envs(faketime::running(stack.sts.now(), PACE));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut client = command.spawn().unwrap();
    for count in 1..=KEYS {
        eventually(&format!("key number {count}"), async || {
            assert_running(&mut client).await;
            (keys(&stack).len() >= count).then_some(())
        })
        .await;
    }
    let refused: Vec<_> = stack.sts.calls().into_iter().filter(|call| call.error.is_some()).collect();
    assert!(refused.is_empty(), "{refused:?}");
    client.start_kill().unwrap();
    said(&mut client).await
}

/// The keys that a client has signed calls with.
fn keys(stack: &Stack) -> HashSet<String> {
    let calls = stack.sts.calls().into_iter().filter(|call| call.action == "GetCallerIdentity");
    calls.map(|call| call.caller_access_key).collect()
}

async fn assert_running(client: &mut Child) {
    if let Some(status) = client.try_wait().unwrap() {
        panic!("the client ended with {status}: {}", said(client).await);
    }
}

async fn said(client: &mut Child) -> String {
    let mut said = String::new();
    client.stderr.take().unwrap().read_to_string(&mut said).await.unwrap();
    said
}

fn script(interpreter: &str, name: &str) -> Command {
    let mut command = Command::new(installed(interpreter));
    command.env_clear().arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(name));
    command
}

#[tokio::test]
async fn boto3_never_finds_a_reason_to_extend_the_life_of_its_credentials() {
    let mut command = script("KIAM_TEST_PYTHON", "boto3_loop.py");
    // botocore's timeout of one second, which libfaketime makes run as fast as the clock.
    command.env("AWS_METADATA_SERVICE_TIMEOUT", PACE.to_string());
    let said = three_refreshes(command).await;
    assert!(said.contains("Found credentials from IAM Role: role-0"), "the log is there: {said}");
    assert!(!said.contains("extension") && !said.contains("WARNING"), "{said}");
}

#[tokio::test]
async fn the_javascript_sdk_refreshes_without_a_failed_call() {
    let mut command = script("KIAM_TEST_NODE", "js_loop.mjs");
    command.env("KIAM_TEST_NODE_MODULES", installed("KIAM_TEST_NODE_MODULES"));
    // The SDK's own about the age of this machine's Node.
    command.env("NODE_NO_WARNINGS", "1");
    assert_eq!(three_refreshes(command).await, "");
}

#[tokio::test]
async fn the_rust_sdk_refreshes_without_a_failed_call() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kiam-test-loop"));
    command.env_clear();
    assert_eq!(three_refreshes(command).await, "");
}
