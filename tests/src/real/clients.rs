//! The AWS SDKs as a pod would use them: processes with an empty environment but for the metadata endpoint. The programs
//! and the contract they keep are in `tests/clients`.

use std::collections::HashMap;
use std::path::Path;
use std::process::{Output, Stdio};

use serde::Deserialize;
use tokio::process::Command;

use super::installed;

/// An AWS SDK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sdk<'a> {
    /// Python.
    Boto3,
    /// The AWS command line.
    AwsCli,
    /// JavaScript, version 3.
    JavaScript,
    /// Rust: the path of the binary `kiam-test-client`, which only Cargo's test programs know.
    Rust(&'a str),
}

/// What a client prints. A field that the client does not know is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Found {
    /// `ASIA…`.
    pub access_key_id: String,
    /// The secret access key.
    pub secret_access_key: String,
    /// The session token.
    pub token: String,
    /// When the credentials end: UTC, whole seconds.
    pub expiration: String,
    /// Who STS says that these credentials are.
    pub caller_arn: String,
    /// The SDK's own word for where it found them.
    pub method: String,
}

impl Sdk<'_> {
    /// What this SDK finds with nothing set but the metadata endpoint, or what it says when it finds nothing. It asks
    /// the STS at `sts` who it is.
    ///
    /// # Panics
    /// If the client fails in any other way.
    pub async fn find_credentials(self, metadata_endpoint: &str, sts: &str) -> Result<Found, String> {
        let mut command = self.command();
        command.env("AWS_EC2_METADATA_SERVICE_ENDPOINT", metadata_endpoint);
        self.run(command, sts).await
    }

    /// What this SDK finds in a network namespace with nothing set at all.
    ///
    /// # Panics
    /// If the client fails in any other way than by finding nothing.
    pub async fn find_credentials_in(self, namespace: &str, sts: &str) -> Result<Found, String> {
        let client = self.command();
        let client = client.as_std();
        let mut command = Command::new("ip");
        command.args(["netns", "exec", namespace, "/usr/bin/env", "--ignore-environment", "HOME=/nonexistent"]);
        let set = client.get_envs().filter_map(|(name, value)| Some((name.to_str()?, value?.to_str()?)));
        command.args(set.map(|(name, value)| format!("{name}={value}")));
        command.arg(client.get_program()).args(client.get_args());
        self.run(command, sts).await
    }

    async fn run(self, mut command: Command, sts: &str) -> Result<Found, String> {
        let home = tempfile::tempdir().expect("an empty home");
        command.arg(sts).current_dir(home.path()).stdin(Stdio::null()).kill_on_drop(true);
        command.env("HOME", home.path());
        let Output { status, stdout, stderr } = command.output().await.expect("the client starts");
        let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
        let said = format!("{self:?} ended with {status} and said {stdout}{stderr}");
        match status.code() {
            Some(0) => Ok(serde_json::from_str(&stdout).expect(&said)),
            Some(3) => {
                let answer: HashMap<String, String> = serde_json::from_str(&stdout).expect(&said);
                Err(answer.get("error").expect(&said).clone())
            }
            _ => panic!("{said}"),
        }
    }

    fn command(self) -> Command {
        let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients");
        let mut command = match self {
            Self::Boto3 => script(installed("KIAM_TEST_PYTHON").as_path(), &clients.join("boto3_client.py")),
            Self::AwsCli => script(Path::new("/bin/bash"), &clients.join("aws_cli.sh")),
            Self::JavaScript => script(installed("KIAM_TEST_NODE").as_path(), &clients.join("js_client.mjs")),
            Self::Rust(program) => Command::new(program),
        };
        command.env_clear();
        match self {
            Self::AwsCli => {
                command.env("KIAM_TEST_AWS_CLI", installed("KIAM_TEST_AWS_CLI")).env("PATH", "/usr/bin:/bin");
            }
            Self::JavaScript => {
                command.env("KIAM_TEST_NODE_MODULES", installed("KIAM_TEST_NODE_MODULES"));
            }
            Self::Boto3 | Self::Rust(_) => {}
        }
        command
    }
}

fn script(interpreter: &Path, script: &Path) -> Command {
    let mut command = Command::new(interpreter);
    command.arg(script);
    command
}
