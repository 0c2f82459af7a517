//! The programs beside emulators that one test has for itself, where it matters that nobody else's pods are seen.

use std::fs;
use std::net::{IpAddr, SocketAddr};

use kiam_tests::imds::Imds;
use kiam_tests::kube_api::{KubeApi, Pod, TokenUser};
use kiam_tests::real::http::{Answer, get};
use kiam_tests::real::namespace::free_ip;
use kiam_tests::real::program::Invocation;
use kiam_tests::stack::Program;
use kiam_tests::sts::Sts;

use crate::world::{CREDENTIALS, Identities, Logs, agent, server};

/// Everything around the programs.
pub(crate) struct Emulated {
    pub(crate) kube: KubeApi,
    pub(crate) sts: Sts,
    pub(crate) imds: Imds,
    pub(crate) identities: Identities,
    pub(crate) logs: Logs,
}

impl Emulated {
    /// With the namespace `apps`, which permits everything.
    pub(crate) async fn start() -> Self {
        let kube = KubeApi::start().await.expect("a free port");
        kube.put_namespace("apps", &[("iam.amazonaws.com/permitted", ".*")]);
        let logs = Logs::new();
        fs::write(logs.path().join("kubeconfig"), kube.kubeconfig()).expect("the kubeconfig can be written");
        let (sts, imds) = (Sts::start().await.expect("a free port"), Imds::start().await.expect("a free port"));
        Self { kube, sts, imds, identities: Identities::new(), logs }
    }

    /// A server's ordinary command line.
    pub(crate) fn server(&self) -> Invocation {
        server(&self.logs.path().join("kubeconfig"), &self.sts.url(), &self.identities.server)
    }

    /// The command line of an agent of the servers at this address.
    pub(crate) fn agent(&self, server_address: impl ToString) -> Invocation {
        agent(server_address, &self.imds, &self.identities.agent)
    }

    /// The same of a node's agent, with a token that says which node it is of.
    pub(crate) fn agent_of(&self, node: &str, server_address: impl ToString) -> Invocation {
        let user = TokenUser {
            username: "system:serviceaccount:kube-system:kiam-agent".into(),
            extra: vec![("authentication.kubernetes.io/node-name".into(), node.into())],
            audiences: vec!["kiam-server".into()],
            ..TokenUser::default()
        };
        let token = format!("token-of-{node}");
        self.kube.set_token(&token, Some(user));
        let file = self.logs.path().join(format!("{node}.token"));
        fs::write(&file, token).expect("the token can be written");
        self.agent(server_address).flag("--node-name", node).flag("--server-token-file", file.display())
    }

    /// Starts a server with this command line, and an ordinary agent.
    pub(crate) async fn run(&self, server: Invocation) -> (Program, Program) {
        let server = self.logs.start("server", &server).await;
        let agent = self.logs.start("agent", &self.agent(server.addresses().main)).await;
        (server, agent)
    }

    /// Runs a pod in `apps` with this role; its address.
    pub(crate) fn run_pod(&self, name: &str, role: &str) -> IpAddr {
        let ip = free_ip();
        self.kube.put_pod(&Pod::new("apps", name, "node-a", &ip.to_string(), role));
        ip.into()
    }
}

/// What the agent answers to this pod's request for credentials of a role.
pub(crate) async fn ask_for(agent: SocketAddr, pod: IpAddr, role: &str) -> Answer {
    get(pod, agent, &format!("{CREDENTIALS}{role}")).await
}
