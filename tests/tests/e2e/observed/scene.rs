//! A server, two agents and their pods, with something wrong in every corner.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use http::header::AUTHORIZATION;
use http::{Request, StatusCode};
use hyper::body::Incoming;
use kiam_common::args::TlsArgs;
use kiam_common::testing::metrics::value;
use kiam_tests::kube_api::{Pod, TokenUser};
use kiam_tests::loopback::{Answer, Handler, Listening, answer};
use kiam_tests::netns::sh;
use kiam_tests::real::http::{LOCALHOST, get, send};
use kiam_tests::real::namespace::free_ip;
use kiam_tests::real::program::Invocation;
use kiam_tests::real::{eventually, free_port};
use kiam_tests::stack::Program;
use kiam_tests::sts::{Fault, Refusal, Scope};

use crate::emulated::{Emulated, ask_for};
use crate::world::{BASE_ARN, CREDENTIALS, wait_until_ready};

/// The address of the node whose agent keeps rules.
const HOST: &str = "10.0.0.1";

/// What kube-state-metrics says of the agents' DaemonSet.
const DAEMON_SET: &str = include_str!("kube_state_metrics.txt");

/// Who may read metrics here shows this token.
pub(super) const SCRAPER: &str = "token-of-prometheus";

/// All of it.
pub(super) struct Scene {
    around: Emulated,
    server: Program,
    agents: [Program; 2],
    /// An agent without a token, which nobody serves.
    stranger: Program,
    pods: Pods,
    /// Of the second agent's status listener.
    certificate: TlsArgs,
    kube_state_metrics: Listening,
    rounds: AtomicU32,
}

/// Pods, by what comes of what they ask.
struct Pods {
    served: [IpAddr; 2],
    forbidden: IpAddr,
    refused_by_sts: IpAddr,
    without_role: IpAddr,
}

impl Scene {
    /// Starts it: one agent keeps rules, the other lets pods be chosen by `?ip=` and has metrics over TLS.
    pub(super) async fn start() -> Self {
        sh(&format!("ip addr add {HOST}/32 dev lo"));
        let around = Emulated::start().await;
        around.kube.put_namespace("closed", &[]);
        let scraper = "system:serviceaccount:kiam-metrics:kiam-prometheus";
        around.kube.set_token(SCRAPER, Some(TokenUser { username: scraper.into(), ..TokenUser::default() }));
        let pods = Pods::run(&around);
        let server = around.server().flag("--metrics-auth", "kubernetes").flag("--node-binding", "token");
        // The Kubernetes API knows no nodes.
        let server =
            server.flag("--metrics-enable", "roles,namespaces,nodes").flag("--startup-taint", "example.com/new");
        let server = around.logs.start("server", &server).await;
        let address = server.addresses().main;
        let intercepting = agent(&around, "node-a", address)
            .without("--bind")
            .flag("--port", free_port())
            .flag("--intercept", "nftables")
            .flag("--host", HOST)
            .flag("--host-interface", "eni+");
        let certificate = around.identities.pki.issue("status", &["127.0.0.1"]);
        let asked_by_ip = agent(&around, "node-b", address)
            .flag("--allow-ip-query", true)
            .flag("--metrics-tls-cert", certificate.cert.display())
            .flag("--metrics-tls-key", certificate.key.display());
        let agents =
            [around.logs.start("node-a", &intercepting).await, around.logs.start("node-b", &asked_by_ip).await];
        for program in [&server, &agents[0]] {
            wait_until_ready(program).await;
        }
        let stranger = around.logs.start("stranger", &around.agent(address).flag("--node-name", "node-c")).await;
        let kube_state_metrics = Listening::start(([127, 0, 0, 1], 0).into(), Arc::new(DaemonSet)).await;
        let kube_state_metrics = kube_state_metrics.expect("a free port");
        let rounds = AtomicU32::new(0);
        let scene = Self { around, server, agents, stranger, pods, certificate, kube_state_metrics, rounds };
        eventually("both agents to be supplied", async || {
            (value(&scene.metrics(&scene.server).await, "kiam_nodes_connected") == Some(2.0)).then_some(())
        })
        .await;
        scene
    }

    /// A round of requests, of every kind that is counted.
    pub(super) async fn go_on(&self) {
        let [a, b] = &self.agents;
        let (a, b) = (a.addresses().main, b.addresses().main);
        for (agent, pod) in [(a, self.pods.served[0]), (b, self.pods.served[1])] {
            assert_eq!(get(pod, agent, CREDENTIALS).await.status, StatusCode::OK);
            assert_eq!(ask_for(agent, pod, "reader").await.status, StatusCode::OK);
            let token = Request::put("/latest/api/token").header("x-aws-ec2-metadata-token-ttl-seconds", "60");
            let token = send(pod, agent, token.body(String::new()).expect("sound")).await.body;
            let listed = Request::get(CREDENTIALS).header("x-aws-ec2-metadata-token", token);
            assert_eq!(send(pod, agent, listed.body(String::new()).expect("sound")).await.status, StatusCode::OK);
            get(pod, agent, "/latest/user-data").await;
            get(pod, agent, "/health").await;
        }
        ask_for(a, self.pods.forbidden, "reader").await;
        ask_for(a, self.pods.refused_by_sts, "untrusting").await;
        get(self.pods.without_role, a, CREDENTIALS).await;
        get(self.pods.without_role, b, &format!("{CREDENTIALS}?ip={}", self.pods.served[1])).await;
        // Another node's pod, and an agent that nobody knows.
        ask_for(a, self.pods.served[1], "reader").await;
        ask_for(self.stranger.addresses().main, self.pods.served[0], "reader").await;
        self.ask_for_something_new(b).await;
    }

    /// Pods that nobody has seen before ask for roles that nobody has had. STS throttles one of them once, fails once for
    /// another, and once does not know the server.
    async fn ask_for_something_new(&self, agent: SocketAddr) {
        for refusal in
            [Refusal::throttling(), Refusal::server_error(StatusCode::INTERNAL_SERVER_ERROR), Refusal::expired_token()]
        {
            let role = format!("role-{}", self.rounds.fetch_add(1, Ordering::Relaxed));
            let scope = Scope::Role(format!("{BASE_ARN}{role}"));
            self.around.sts.set_fault_times(scope, Fault::Refuse(refusal), 1);
            let pod = run(&self.around, "apps", "node-b", &role);
            ask_for(agent, pod, &role).await;
        }
    }

    /// STS and then the Kubernetes API go away, and a certificate is spoilt.
    pub(super) async fn lose_what_is_around(&mut self) {
        fs::write(&self.certificate.cert, "").expect("the certificate can be spoilt");
        self.around.sts.set_fault(Scope::Everyone, Fault::Reset);
        self.ask_for_something_new(self.agents[1].addresses().main).await;
        self.around.kube.go_away().await;
    }

    /// The server goes away.
    pub(super) async fn lose_the_server(&mut self) {
        self.server.kill().await.expect("the server can be killed");
    }

    /// An agent goes away.
    pub(super) async fn lose_an_agent(&mut self) {
        self.agents[0].kill().await.expect("the agent can be killed");
    }

    /// Whom Prometheus trusts.
    pub(super) fn authority(&self) -> String {
        fs::read_to_string(&self.certificate.ca).expect("the authority can be read")
    }

    /// What a program shows to who may see it.
    pub(super) async fn metrics(&self, program: &Program) -> String {
        let request = Request::get("/metrics").header(AUTHORIZATION, format!("Bearer {SCRAPER}"));
        send(LOCALHOST, program.addresses().ops, request.body(String::new()).expect("sound")).await.body
    }

    /// The server.
    pub(super) fn server(&self) -> &Program {
        &self.server
    }

    /// The agent whose metrics are not over TLS.
    pub(super) fn agent(&self) -> &Program {
        &self.agents[0]
    }

    /// Where Prometheus asks what there is to scrape.
    pub(super) fn status_listener(&self) -> String {
        format!("http://{}", self.server.addresses().ops)
    }

    /// Where it asks for the DaemonSet.
    pub(super) fn kube_state_metrics(&self) -> SocketAddr {
        self.kube_state_metrics.addr()
    }
}

impl Pods {
    fn run(around: &Emulated) -> Self {
        let untrusting = Scope::Role(format!("{BASE_ARN}untrusting"));
        let denied = Refusal::access_denied("the server", "untrusting");
        around.sts.set_fault(untrusting, Fault::Refuse(denied));
        Self {
            served: ["node-a", "node-b"].map(|node| run(around, "apps", node, "reader")),
            forbidden: run(around, "closed", "node-a", "reader"),
            refused_by_sts: run(around, "apps", "node-a", "untrusting"),
            without_role: run(around, "apps", "node-a", ""),
        }
    }
}

/// Runs a pod; its address.
fn run(around: &Emulated, namespace: &str, node: &str, role: &str) -> IpAddr {
    let ip = free_ip();
    around.kube.put_pod(&Pod::new(namespace, &format!("pod-{ip}"), node, &ip.to_string(), role));
    ip.into()
}

/// An agent that shows its metrics to Prometheus alone.
fn agent(around: &Emulated, node: &str, server: SocketAddr) -> Invocation {
    around.agent_of(node, server).flag("--metrics-auth", "kubernetes")
}

/// Stands in for kube-state-metrics.
struct DaemonSet;

impl Handler for DaemonSet {
    async fn answer(self: Arc<Self>, _request: Request<Incoming>) -> Answer {
        Some(answer(StatusCode::OK, "text/plain; version=0.0.4", DAEMON_SET))
    }
}
