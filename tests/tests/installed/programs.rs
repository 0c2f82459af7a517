//! The programs at work as their manifests say: the containers' own command lines, certificates, tokens and accounts.

use http::header::AUTHORIZATION;
use http::{Request, StatusCode};
use kiam_common::testing::metrics::count;
use kiam_tests::imds::Imds;
use kiam_tests::real::eventually;
use kiam_tests::real::http::{Answer, LOCALHOST, get, send};
use kiam_tests::real::namespace::{Namespace, PERMITTED, Pod, ROLE};
use kiam_tests::real::program::Invocation;
use kiam_tests::stack::Program;
use kiam_tests::sts::{OWN_ACCESS_KEY, OWN_SECRET_KEY, Sts};
use serde_json::json;
use tempfile::TempDir;

use crate::cluster::{Cluster, cluster};
use crate::container::{NODE, Pods};

/// A server and an agent, and what they need around them.
pub(crate) struct Programs {
    pub(crate) server: Program,
    pub(crate) agent: Program,
    _sts: Sts,
    _imds: Imds,
    directory: TempDir,
}

/// Where their manifests are, and whose rights the server has.
pub(crate) struct Installed<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) namespace: &'a str,
    pub(crate) server: &'a str,
    pub(crate) agent: &'a str,
    /// The server's account, if not its own.
    pub(crate) account: Option<&'a str>,
    /// Whether to show metrics to everybody, whatever the manifests say.
    pub(crate) open_metrics: bool,
}

impl Installed<'_> {
    /// Where only this test asks, and so that the log says where.
    fn listening(&self, program: Invocation) -> Invocation {
        let program = program.flag("--prometheus-listen-addr", "127.0.0.1:0").flag("--level", "info");
        if self.open_metrics { program.flag("--metrics-auth", "none") } else { program }
    }
}

impl Programs {
    /// Starts both, with nothing changed but where they listen and what is not of the cluster.
    pub(crate) async fn start(installed: &Installed<'_>) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let (sts, imds) = (Sts::start().await.expect("a port"), Imds::start().await.expect("a port"));
        let &Installed { cluster, namespace, .. } = installed;
        let pods = Pods::of(cluster, namespace, installed.server);
        let account = installed.account.unwrap_or(pods.account());
        let server = pods.invocation(&["server"], "kiam-server", &directory.path().join("server"));
        let server = installed
            .listening(server)
            .flag("--bind", "127.0.0.1:0")
            .flag("--kubeconfig", cluster.kubernetes.account_kubeconfig(namespace, account).display())
            .env("AWS_REGION", "eu-west-1")
            .env("AWS_ENDPOINT_URL_STS", sts.url())
            .env("AWS_EC2_METADATA_DISABLED", true)
            .env("AWS_ACCESS_KEY_ID", OWN_ACCESS_KEY)
            .env("AWS_SECRET_ACCESS_KEY", OWN_SECRET_KEY);
        let server = start(&server, "server", &directory).await;

        let pods = Pods::of(cluster, namespace, installed.agent);
        let pod = format!("agent-{account}");
        pods.make(&pod);
        let agent = pods.invocation(&["agent"], &pod, &directory.path().join("agent"));
        let agent = installed
            .listening(agent)
            // Rules would be this machine's own.
            .flag("--intercept", "none")
            .flag("--bind", "127.0.0.1")
            .flag("--port", 0)
            .flag("--server-address", format!("localhost:{}", server.addresses().main.port()))
            .flag("--metadata-endpoint", imds.url());
        let agent = start(&agent, "agent", &directory).await;
        Self { server, agent, _sts: sts, _imds: imds, directory }
    }

    /// What the pod is answered that asks for its credentials.
    pub(crate) async fn ask(&self, pod: &Pod) -> Answer {
        let path = "/latest/meta-data/iam/security-credentials/reader";
        get(pod.ip.into(), self.agent.addresses().main, path).await
    }

    /// What the server's operators see on a page.
    pub(crate) async fn page(&self, path: &str) -> Answer {
        get(LOCALHOST, self.server.addresses().ops, path).await
    }

    /// Waits until the server has counted something.
    pub(crate) async fn counted(&self, series: &str) {
        eventually(series, async || count(&self.page("/metrics").await.body, series).filter(|&counted| counted > 0))
            .await;
    }

    /// Waits until the server can do its work.
    pub(crate) async fn ready(&self) {
        eventually("the server to be ready", async || self.page("/ready").await.status.is_success().then_some(()))
            .await;
    }

    /// What the server has logged so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("server.log")).unwrap_or_default()
    }
}

impl Drop for Programs {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "--- the server's log is\n{}\n--- the agent's ends with\n{}",
                self.log(),
                self.agent.last_lines()
            );
        }
    }
}

async fn start(program: &Invocation, name: &str, directory: &TempDir) -> Program {
    program.start(name, directory.path()).await.unwrap_or_else(|error| panic!("{error}"))
}

/// A pod of the namespace with the role that all of these tests ask for.
pub(crate) async fn reader(namespace: &Namespace, name: &str) -> Pod {
    namespace.run_on(NODE, name, &[(ROLE, "reader")]).await
}

/// What a program answers a scraper with this token.
pub(crate) async fn metrics_for(token: &str, program: &Program) -> Answer {
    let request = Request::get("/metrics").header(AUTHORIZATION, format!("Bearer {token}")).body(String::new());
    send(LOCALHOST, program.addresses().ops, request.expect("a request")).await
}

#[tokio::test]
async fn as_the_chart_runs_them_the_programs_give_a_pod_its_credentials_and_the_scraper_their_metrics() {
    let cluster = cluster().await;
    let namespace = cluster.namespace(&[(PERMITTED, ".*")]).await;
    let values = json!({"agent": {"prometheus": {"servicemonitor": {"enabled": true}}}});
    cluster.deploy("install", "kiam-runs", &namespace.name, &values);
    let programs = Programs::start(&Installed {
        cluster,
        namespace: &namespace.name,
        server: "deployment/kiam-runs-server",
        agent: "daemonset/kiam-runs-agent",
        account: None,
        open_metrics: false,
    })
    .await;
    let pod = reader(&namespace, "reader").await;
    let answer = programs.ask(&pod).await;
    assert_eq!((answer.status, answer.field("Code")), (StatusCode::OK, "Success".into()), "{}", answer.body);

    for program in [&programs.server, &programs.agent] {
        for (account, status) in [("kiam-runs-scraper", StatusCode::OK), ("kiam-runs-server", StatusCode::FORBIDDEN)] {
            let answer = metrics_for(&cluster.kubernetes.token(&namespace.name, account), program).await;
            assert_eq!(answer.status, status, "{}: {account}: {}", program.name(), answer.body);
        }
        let answer = get(LOCALHOST, program.addresses().ops, "/metrics").await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{}", program.name());
    }
}
