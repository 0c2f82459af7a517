//! Two servers of one name, two nodes with an agent each, and pods with roles of their own on them.

use std::env;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use kiam_common::testing::metrics;
use kiam_tests::kube_api;
use kiam_tests::netns::{inside, sh};
use kiam_tests::real::eventually;
use kiam_tests::real::http::{LOCALHOST, get};
use kiam_tests::stack::{Program, Setup, Stack};
use kiam_tests::sts::{Fault, Scope};

use crate::load::Pod;

/// The binary that is both programs.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_kiam-sandbox");
/// The namespace of every pod.
pub(crate) const NAMESPACE: &str = "team";
const NODES: [&str; 2] = ["node-a", "node-b"];
const PODS: u8 = 24;
/// A server that starts has no credentials for so long.
const STS_TAKES: Duration = Duration::from_millis(200);

/// Runs a test in namespaces of its own while no other of this program runs: they would share two cores.
pub(crate) fn alone(test: impl Future<Output = ()>) {
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    inside(test);
}

/// All of it, at work.
pub(crate) struct Rig {
    /// The first server, the agents, and what is emulated.
    pub(crate) stack: Stack,
    second: Program,
    /// Pods that the agents know.
    pub(crate) pods: Vec<Pod>,
}

impl Rig {
    /// Starts it, and waits until the agents know the pods. The agents have these flags too.
    pub(crate) async fn start(agent_flags: &[&str]) -> Self {
        let mut stack = Stack::start(Setup {
            agent_flags: agent_flags.iter().map(ToString::to_string).collect(),
            ..Setup::new(BINARY, &[])
        })
        .await
        .expect("a server and its emulators");
        stack.kube.put_namespace(NAMESPACE, &[("iam.amazonaws.com/permitted", ".*")]);
        let (second, servers) = second_server(&stack).await;
        for (number, node) in (1..).zip(NODES) {
            let ip = Ipv4Addr::new(127, 0, number, 1).into();
            stack.another_node(node, ip, &servers).await.expect("an agent");
        }
        let mut rig = Self { stack, second, pods: Vec::new() };
        for number in 0..PODS {
            let pod = rig.add_pod(number);
            rig.pods.push(pod);
        }
        rig.wait_until_known().await;
        rig
    }

    /// Adds a pod to one of the nodes.
    pub(crate) fn add_pod(&self, number: u8) -> Pod {
        let node = &self.stack.nodes[usize::from(number) % NODES.len()];
        let ip = IpAddr::from([127, 9, 0, number + 1]);
        let role = format!("role-{number}");
        let pod = kube_api::Pod::new(NAMESPACE, &pod_name(number), &node.name, &ip.to_string(), &role);
        self.stack.kube.put_pod(&pod);
        Pod { ip, role, agent: node.agent.addresses().main, namespace: None }
    }

    /// One of the servers, in turns.
    pub(crate) fn server(&mut self, turn: usize) -> &mut Program {
        if turn.is_multiple_of(2) { &mut self.stack.server } else { &mut self.second }
    }

    /// Every program.
    pub(crate) fn programs(&self) -> impl Iterator<Item = &Program> {
        self.stack.programs().chain([&self.second])
    }

    fn agents(&self) -> impl Iterator<Item = &Program> {
        self.stack.nodes.iter().map(|node| &node.agent)
    }

    /// The sum of one series of both agents.
    pub(crate) async fn count(&self, series: &str) -> f64 {
        let mut sum = 0.0;
        for agent in self.agents() {
            sum += metric(agent, series).await;
        }
        sum
    }

    /// Waits until both agents have streams.
    pub(crate) async fn wait_until_supplied(&self) {
        eventually("the agents to have streams", async || {
            (self.count("kiam_stream_connected").await > 1.0).then_some(())
        })
        .await;
    }

    /// Waits until both agents are supplied with all pods and their credentials.
    async fn wait_until_known(&self) {
        eventually("the pods to be known", async || {
            (self.count("kiam_ledger_sessions").await >= f64::from(PODS)).then_some(())
        })
        .await;
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if thread::panicking() {
            self.programs().for_each(|program| eprintln!("--- {}\n{}", program.name(), program.last_lines()));
        }
    }
}

/// Starts another server beside the stack's own, and gives both one name and port: what agents are told. STS takes its
/// time from now on.
pub(crate) async fn second_server(stack: &Stack) -> (Program, String) {
    sh("printf '127.0.0.1 localhost\\n127.0.0.2 localhost\\n' >/run/hosts; mount --bind /run/hosts /etc/hosts");
    stack.sts.set_fault(Scope::Everyone, Fault::Delay(STS_TAKES));
    let port = stack.server.addresses().main.port();
    let second = stack.another_server("server-b", &format!("127.0.0.2:{port}")).await.expect("another server");
    (second, format!("localhost:{port}"))
}

/// One series of a program.
pub(crate) async fn metric(program: &Program, series: &str) -> f64 {
    let text = get(LOCALHOST, program.addresses().ops, "/metrics").await.body;
    metrics::value(&text, series).unwrap_or_else(|| panic!("no {series}"))
}

/// How long an outage lasts: a few seconds, or what `KIAM_TEST_OUTAGE` says.
pub(crate) fn outage() -> Duration {
    let seconds = env::var("KIAM_TEST_OUTAGE").ok().map(|text| text.parse().expect("a number of seconds"));
    Duration::from_secs(seconds.unwrap_or(6))
}

/// What the pod of this number is called.
pub(crate) fn pod_name(number: u8) -> String {
    format!("pod-{number}")
}

/// Starts a server again that has ended, where it was, and waits until it is ready.
pub(crate) async fn restart(server: &mut Program) {
    let bind = server.addresses().main.to_string();
    server.start_again("--bind", bind).await.expect("the server starts again");
    eventually("the server to be ready", async || {
        get(LOCALHOST, server.addresses().ops, "/ready").await.status.is_success().then_some(())
    })
    .await;
}
