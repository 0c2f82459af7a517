//! A server and an agent at work, with everything they need around them.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use http::Request;
use kiam_common::args::TlsArgs;
use kiam_common::testing::Pki;
use kiam_tests::imds::Imds;
use kiam_tests::real::eventually;
use kiam_tests::real::http::{Answer, LOCALHOST, get, send};
use kiam_tests::real::kube_apiserver::KubeApiServer;
use kiam_tests::real::namespace::{Annotations, Namespace, PERMITTED, Pod};
use kiam_tests::real::program::Invocation;
use kiam_tests::stack::Program;
use tempfile::TempDir;

use crate::shared;

/// The binary that is both programs.
pub(crate) const PROGRAMS: &str = env!("CARGO_BIN_EXE_kiam-sandbox");

/// What stands in front of role names.
pub(crate) const BASE_ARN: &str = "arn:aws:iam::123456789012:role/";

/// The path below which credentials are.
pub(crate) const CREDENTIALS: &str = "/latest/meta-data/iam/security-credentials/";

/// What both programs trust and are.
pub(crate) struct Identities {
    pub(crate) pki: Pki,
    pub(crate) server: TlsArgs,
    pub(crate) agent: TlsArgs,
}

impl Identities {
    pub(crate) fn new() -> Self {
        let pki = Pki::new();
        let (server, agent) = (pki.issue("server", &["127.0.0.1", "localhost"]), pki.issue("agent", &["agent"]));
        Self { pki, server, agent }
    }
}

/// A server that asks the Kubernetes API of `kubeconfig` and the STS at `sts`.
pub(crate) fn server(kubeconfig: &Path, sts: &str, identity: &TlsArgs) -> Invocation {
    announced(with_identity(Invocation::new(PROGRAMS, &["server"]), identity))
        .flag("--bind", "127.0.0.1:0")
        .flag("--kubeconfig", kubeconfig.display())
        .flag("--role-base-arn", BASE_ARN)
        .flag("--region", "us-east-1")
        .env("AWS_ENDPOINT_URL_STS", sts)
        .env("AWS_ACCESS_KEY_ID", kiam_tests::sts::OWN_ACCESS_KEY)
        .env("AWS_SECRET_ACCESS_KEY", kiam_tests::sts::OWN_SECRET_KEY)
        .env("AWS_EC2_METADATA_DISABLED", true)
}

/// An agent that asks the servers at `server_address` and the instance metadata service `imds`.
pub(crate) fn agent(server_address: impl ToString, imds: &Imds, identity: &TlsArgs) -> Invocation {
    announced(with_identity(Invocation::new(PROGRAMS, &["agent"]), identity))
        .flag("--bind", "127.0.0.1")
        .flag("--port", 0)
        .flag("--server-address", server_address)
        .flag("--metadata-endpoint", imds.url())
        .flag("--node-name", "node-a")
}

/// With certificates.
pub(crate) fn with_identity(program: Invocation, identity: &TlsArgs) -> Invocation {
    program
        .flag("--cert", identity.cert.display())
        .flag("--key", identity.key.display())
        .flag("--ca", identity.ca.display())
}

/// With listeners on free ports, and a log that says where and everything else.
fn announced(program: Invocation) -> Invocation {
    program.flag("--prometheus-listen-addr", "127.0.0.1:0").flag("--level", "debug").flag("--json-log", true)
}

/// Everything at work.
pub(crate) struct World {
    pub(crate) kubernetes: &'static KubeApiServer,
    pub(crate) identities: Identities,
    pub(crate) imds: Imds,
    pub(crate) server: Program,
    pub(crate) agent: Program,
    pub(crate) logs: Logs,
}

impl World {
    /// With moto as the STS.
    pub(crate) async fn start() -> Self {
        Self::with_sts(shared::moto().await.url()).await
    }

    /// With the STS at this URL.
    pub(crate) async fn with_sts(sts: &str) -> Self {
        Self::with_flags(sts, |server| server, |agent| agent).await
    }

    /// With an STS, and with the command lines changed.
    pub(crate) async fn with_flags(
        sts: &str,
        change_server: impl FnOnce(Invocation) -> Invocation,
        change_agent: impl FnOnce(Invocation) -> Invocation,
    ) -> Self {
        let (kubernetes, identities, logs) = (shared::kubernetes().await, Identities::new(), Logs::new());
        let imds = Imds::start().await.expect("a free port");
        let server = logs
            .start("server", &change_server(server(&kubernetes.server_kubeconfig(), sts, &identities.server)))
            .await;
        let agent = change_agent(agent(server.addresses().main, &imds, &identities.agent));
        let agent = logs.start("agent", &agent).await;
        for program in [&server, &agent] {
            wait_until_ready(program).await;
        }
        Self { kubernetes, identities, imds, server, agent, logs }
    }

    /// Where pods' requests go.
    pub(crate) fn agent_addr(&self) -> SocketAddr {
        self.agent.addresses().main
    }

    /// A namespace of this test's own that permits what the expression matches.
    pub(crate) async fn namespace(&self, permitted: &str) -> Namespace {
        self.annotated_namespace(&[(PERMITTED, permitted)]).await
    }

    /// A namespace of this test's own.
    pub(crate) async fn annotated_namespace(&self, annotations: Annotations<'_>) -> Namespace {
        let client = self.kubernetes.client().await.expect("the API server is there");
        Namespace::create(client, annotations).await
    }

    /// What the agent answers this pod's GET.
    pub(crate) async fn ask(&self, pod: &Pod, path: &str) -> Answer {
        get(IpAddr::V4(pod.ip), self.agent_addr(), path).await
    }

    /// What the agent answers this pod's request.
    pub(crate) async fn send(&self, pod: &Pod, request: Request<String>) -> Answer {
        send(IpAddr::V4(pod.ip), self.agent_addr(), request).await
    }

    /// What the agent answers when this pod asks for credentials of this role.
    pub(crate) async fn ask_for(&self, pod: &Pod, role: &str) -> Answer {
        self.ask(pod, &format!("{CREDENTIALS}{role}")).await
    }
}

/// A directory of logs, whose ends are shown when the test fails.
pub(crate) struct Logs(TempDir);

impl Logs {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory for logs"))
    }

    /// Starts a program that logs here.
    pub(crate) async fn start(&self, name: &str, program: &Invocation) -> Program {
        program.start(name, self.0.path()).await.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Where they are.
    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// All that every program has logged so far.
    pub(crate) fn read(&self) -> String {
        let logs = fs::read_dir(self.0.path()).expect("the directory is there").filter_map(Result::ok);
        logs.filter_map(|log| fs::read_to_string(log.path()).ok()).collect()
    }
}

impl Drop for Logs {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.read();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("--- the logs end with\n{}", lines[lines.len().saturating_sub(60)..].join("\n"));
        }
    }
}

/// A program's `/metrics`.
pub(crate) async fn metrics(program: &Program) -> String {
    get(LOCALHOST, program.addresses().ops, "/metrics").await.body
}

/// Waits until `/ready` says so.
pub(crate) async fn wait_until_ready(program: &Program) {
    eventually("the program to be ready", async || {
        get(LOCALHOST, program.addresses().ops, "/ready").await.status.is_success().then_some(())
    })
    .await;
}
