//! The product with everything around it emulated: an STS, a Kubernetes API, an instance metadata service, one server
//! and an agent for each node, all on loopback with certificates of their own.

pub mod leash;
mod program;
mod relay;

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::ExitCode;

use kiam_common::args::TlsArgs;
use kiam_common::testing::Pki;
use tempfile::TempDir;

pub use program::{Addresses, Program, ProgramError, Spec};
pub use relay::Relay;

use crate::imds::Imds;
use crate::kube_api::KubeApi;
use crate::sts::{OWN_ACCESS_KEY, OWN_SECRET_KEY, Sts};

/// The account that role names without an ARN belong to.
pub const ROLE_BASE_ARN: &str = "arn:aws:iam::123456789012:role/";

/// The region of everything.
pub const REGION: &str = "eu-west-1";

/// What to start.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The sandbox binary.
    pub binary: PathBuf,
    /// The agents' binary: the same, unless it is to be the agent as users have it.
    pub agent_binary: PathBuf,
    /// The nodes' names; each gets an agent.
    pub nodes: Vec<&'static str>,
    /// The programs' `--level`.
    pub log_level: &'static str,
    /// Flags of the server beside those that it needs here.
    pub server_flags: Vec<String>,
    /// Environment of the server beside what it needs here.
    pub server_environment: Vec<(String, String)>,
    /// Flags of every agent beside those that it needs here.
    pub agent_flags: Vec<String>,
}

impl Setup {
    /// These nodes, and nothing that is not needed.
    pub fn new(binary: impl Into<PathBuf>, nodes: &[&'static str]) -> Self {
        let binary = binary.into();
        Self {
            agent_binary: binary.clone(),
            binary,
            nodes: nodes.to_vec(),
            log_level: "info",
            server_flags: Vec::new(),
            server_environment: Vec::new(),
            agent_flags: Vec::new(),
        }
    }
}

/// Why there is no stack.
#[derive(Debug, thiserror::Error)]
pub enum StackError {
    /// A port, a file or a directory is not to be had.
    #[error("cannot set up the emulators: {0}")]
    Io(#[from] io::Error),
    /// One of the programs does not run.
    #[error(transparent)]
    Program(#[from] ProgramError),
}

/// A node: its agent, and the address that pods see as its own.
#[derive(Debug)]
pub struct Node {
    /// The node's name.
    pub name: String,
    /// The node's address.
    pub ip: IpAddr,
    /// The agent on it.
    pub agent: Program,
}

/// All of it, running; dropping it ends everything.
pub struct Stack {
    /// The STS.
    pub sts: Sts,
    /// The Kubernetes API.
    pub kube: KubeApi,
    /// The instance metadata service behind the agents and the server.
    pub imds: Imds,
    /// The server.
    pub server: Program,
    /// The nodes, in the order of the setup.
    pub nodes: Vec<Node>,
    /// Certificates, logs and the kubeconfig.
    directory: TempDir,
    /// Whom the programs trust.
    pub pki: Pki,
    setup: Setup,
}

impl Stack {
    /// Starts everything and returns once all of it listens.
    pub async fn start(setup: Setup) -> Result<Self, StackError> {
        let (sts, kube, imds) = (Sts::start().await?, KubeApi::start().await?, Imds::start().await?);
        let directory = tempfile::Builder::new().prefix("kiam-sandbox-").tempdir()?;
        std::fs::write(directory.path().join("kubeconfig"), kube.kubeconfig())?;
        let pki = Pki::new();
        let common = Common { setup: &setup, directory: directory.path().into(), imds: imds.url() };
        let server = Program::start(common.server(&pki, &sts, "server", "127.0.0.1:0")).await?;
        let mut nodes = Vec::new();
        for (number, name) in (1..).zip(&setup.nodes) {
            let ip = IpAddr::V4(Ipv4Addr::new(127, 0, number, 1));
            let agent = Program::start(common.agent(&pki, name, ip, &server.addresses().main.to_string())).await?;
            kube.put_node(name, &ip.to_string());
            nodes.push(Node { name: (*name).into(), ip, agent });
        }
        Ok(Self { sts, kube, imds, server, nodes, directory, pki, setup })
    }

    /// Starts one more agent, beside that of the first node, with these flags too.
    pub async fn another_agent(&self, name: &str, flags: &[&str]) -> Result<Program, ProgramError> {
        let servers = self.server.addresses().main.to_string();
        let mut spec = self.common().agent(&self.pki, name, self.nodes[0].ip, &servers);
        spec.arguments.extend(flags.iter().map(|flag| (*flag).to_owned()));
        Program::start(spec).await
    }

    /// Starts another server, which listens on `bind`.
    pub async fn another_server(&self, name: &str, bind: &str) -> Result<Program, ProgramError> {
        Program::start(self.common().server(&self.pki, &self.sts, name, bind)).await
    }

    /// Starts the agent of another node, at an address of that node, which asks the servers at `servers`.
    pub async fn another_node(&mut self, name: &str, ip: IpAddr, servers: &str) -> Result<(), ProgramError> {
        let agent = Program::start(self.common().agent(&self.pki, name, ip, servers)).await?;
        self.kube.put_node(name, &ip.to_string());
        self.nodes.push(Node { name: name.into(), ip, agent });
        Ok(())
    }

    fn common(&self) -> Common<'_> {
        Common { setup: &self.setup, directory: self.directory(), imds: self.imds.url() }
    }

    /// The file that `kubectl --kubeconfig` takes.
    pub fn kubeconfig(&self) -> PathBuf {
        self.directory.path().join("kubeconfig")
    }

    /// The directory of the logs.
    pub fn directory(&self) -> PathBuf {
        self.directory.path().into()
    }

    /// The sandbox binary that the programs are.
    pub fn binary(&self) -> PathBuf {
        self.server.binary().into()
    }

    /// The certificate of a program that was not part of the setup.
    pub fn issue(&self, name: &str) -> TlsArgs {
        self.pki.issue(name, &[name])
    }

    /// Every program.
    pub fn programs(&self) -> impl Iterator<Item = &Program> {
        std::iter::once(&self.server).chain(self.nodes.iter().map(|node| &node.agent))
    }

    /// Starts the server again at the address it had.
    pub async fn start_server_again(&mut self) -> Result<(), ProgramError> {
        let bind = self.server.addresses().main.to_string();
        self.server.start_again("--bind", bind).await
    }

    /// Ends every program as an operator does: agents first, by SIGTERM.
    pub async fn stop(&mut self) -> io::Result<()> {
        for node in &mut self.nodes {
            node.agent.stop().await?;
        }
        self.server.stop().await.map(drop)
    }
}

/// What the programs' command lines have in common.
struct Common<'a> {
    setup: &'a Setup,
    directory: PathBuf,
    imds: String,
}

impl Common<'_> {
    fn server(&self, pki: &Pki, sts: &Sts, name: &str, bind: &str) -> Spec {
        let mut spec = self.spec(name, "server", &pki.issue(name, &["localhost", "127.0.0.1"]));
        spec.arguments.extend(flags(&[
            ("--bind", bind),
            ("--kubeconfig", &self.directory.join("kubeconfig").display().to_string()),
            ("--role-base-arn", ROLE_BASE_ARN),
            ("--region", REGION),
        ]));
        spec.arguments.extend(self.setup.server_flags.iter().cloned());
        spec.environment.extend(pairs(&[
            ("AWS_ACCESS_KEY_ID", OWN_ACCESS_KEY),
            ("AWS_SECRET_ACCESS_KEY", OWN_SECRET_KEY),
            ("AWS_ENDPOINT_URL_STS", &sts.url()),
            ("AWS_EC2_METADATA_SERVICE_ENDPOINT", &self.imds),
        ]));
        spec.environment.extend(self.setup.server_environment.iter().cloned());
        spec
    }

    fn agent(&self, pki: &Pki, node: &str, ip: IpAddr, servers: &str) -> Spec {
        let mut spec = self.spec(node, "agent", &pki.issue(node, &[node]));
        spec.binary.clone_from(&self.setup.agent_binary);
        spec.arguments.extend(flags(&[
            ("--bind", &ip.to_string()),
            ("--port", "0"),
            ("--node-name", node),
            ("--server-address", servers),
            ("--metadata-endpoint", &self.imds),
        ]));
        spec.arguments.extend(self.setup.agent_flags.iter().cloned());
        spec
    }

    fn spec(&self, name: &str, word: &str, tls: &TlsArgs) -> Spec {
        let mut arguments = vec![word.into(), "--json-log".into()];
        arguments.extend(flags(&[
            ("--level", self.setup.log_level),
            ("--prometheus-listen-addr", "127.0.0.1:0"),
            ("--cert", &tls.cert.display().to_string()),
            ("--key", &tls.key.display().to_string()),
            ("--ca", &tls.ca.display().to_string()),
        ]));
        Spec {
            name: name.into(),
            binary: self.setup.binary.clone(),
            arguments,
            environment: pairs(&[("HOME", &self.directory.display().to_string())]),
            directory: self.directory.clone(),
        }
    }
}

fn flags(flags: &[(&str, &str)]) -> Vec<String> {
    flags.iter().flat_map(|(flag, value)| [(*flag).to_owned(), (*value).to_owned()]).collect()
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// Runs one of the programs, if that is what this process was started for: called first thing by the binary that a
/// [`Setup`] names.
pub fn run_program() -> Option<ExitCode> {
    let word = std::env::args().nth(1)?;
    let run = match word.as_str() {
        "server" => kiam_server::app::run,
        "agent" => kiam_agent::app::run,
        _ => return None,
    };
    leash::hold();
    Some(run())
}
