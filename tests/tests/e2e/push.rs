//! A server supplies the agent: pods are answered from the agent's memory, whatever becomes of the server.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use http::StatusCode;
use kiam_common::testing::metrics::count;
use kiam_tests::real::eventually;
use kiam_tests::real::http::get;
use kiam_tests::stack::Program;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

use crate::emulated::{Emulated, ask_for};
use crate::world::{CREDENTIALS, metrics};

/// Waits until a metric of the agent has this value.
async fn shows(agent: &Program, series: &str, wanted: i64) {
    eventually(series, async || (count(&metrics(agent).await, series) == Some(wanted)).then_some(())).await;
}

async fn answers(agent: &Program, from: &str) -> i64 {
    let series = format!("kiam_ledger_answers_total{{from=\"{from}\"}}");
    count(&metrics(agent).await, &series).expect("the series")
}

/// The key of the credentials that a pod gets for the role `reader`.
async fn key(agent: &Program, pod: IpAddr) -> String {
    let answer = ask_for(agent.addresses().main, pod, "reader").await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    answer.field("AccessKeyId")
}

/// One address for several servers, as a service of Kubernetes has: new connections go to the one that is set.
struct Service {
    address: SocketAddr,
    server: Arc<Mutex<SocketAddr>>,
    _accepting: AbortOnDropHandle<()>,
}

impl Service {
    async fn of(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let (address, server) = (listener.local_addr().expect("an address"), Arc::new(Mutex::new(server)));
        let current = Arc::clone(&server);
        let accepting = tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let server = *current.lock().expect("nobody panics");
                tokio::spawn(async move {
                    let mut far = TcpStream::connect(server).await?;
                    near.set_nodelay(true)?;
                    far.set_nodelay(true)?;
                    copy_bidirectional(&mut near, &mut far).await
                });
            }
        });
        Self { address, server, _accepting: AbortOnDropHandle::new(accepting) }
    }

    fn lead_to(&self, server: &Program) {
        *self.server.lock().expect("nobody panics") = server.addresses().main;
    }
}

#[tokio::test]
async fn a_supplied_pod_is_answered_while_the_server_is_dead_and_by_the_next_one_when_it_is_back() {
    let around = Emulated::start().await;
    let pod = around.run_pod("reader", "reader");
    let first = around.logs.start("server", &around.server()).await;
    let service = Service::of(first.addresses().main).await;
    let agent = around.logs.start("agent", &around.agent(service.address)).await;
    shows(&agent, "kiam_ledger_sessions", 1).await;
    let mut server = first;
    server.kill().await.expect("it runs");
    let before = key(&agent, pod).await;
    shows(&agent, "kiam_stream_connected", 0).await;
    for _ in 0..20 {
        assert_eq!(key(&agent, pod).await, before);
        assert_eq!(get(pod, agent.addresses().main, CREDENTIALS).await.body, "reader");
    }
    assert_eq!((answers(&agent, "ledger").await, answers(&agent, "server").await), (41, 0));

    let again = around.logs.start("server-again", &around.server()).await;
    service.lead_to(&again);
    shows(&agent, "kiam_stream_connected", 1).await;
    eventually("new credentials", async || (key(&agent, pod).await != before).then_some(())).await;
    shows(&agent, "kiam_stream_moves_total{why=\"lost\"}", 1).await;
}

#[tokio::test]
async fn what_changes_in_the_cluster_changes_the_answers() {
    let around = Emulated::start().await;
    let pod = around.run_pod("app", "reader");
    let (_server, agent) = around.run(around.server()).await;
    shows(&agent, "kiam_ledger_sessions", 1).await;
    let list = async || get(pod, agent.addresses().main, CREDENTIALS).await;
    assert_eq!(list().await.body, "reader");
    around.kube.annotate_pod("apps", "app", "iam.amazonaws.com/role", Some("writer"));
    eventually("the new role", async || (list().await.body == "writer").then_some(())).await;
    assert_eq!(ask_for(agent.addresses().main, pod, "writer").await.status, StatusCode::OK);
    let old = ask_for(agent.addresses().main, pod, "reader").await;
    assert_eq!((old.status, old.field("Code").as_str()), (StatusCode::FORBIDDEN, "Forbidden"));
    around.kube.annotate_pod("apps", "app", "iam.amazonaws.com/role", None);
    eventually("no role", async || (list().await.status == StatusCode::NOT_FOUND).then_some(())).await;
    around.kube.remove_pod("apps", "app");
    shows(&agent, "kiam_ledger_sessions", 0).await;
}

#[tokio::test]
async fn a_server_that_stops_hands_its_agents_over_without_a_gap() {
    let around = Emulated::start().await;
    let pod = around.run_pod("reader", "reader");
    let mut one = around.logs.start("one", &around.server()).await;
    let two = around.logs.start("two", &around.server()).await;
    let service = Service::of(one.addresses().main).await;
    let agent = around.logs.start("agent", &around.agent(service.address)).await;
    shows(&agent, "kiam_ledger_sessions", 1).await;
    service.lead_to(&two);
    let (stopped, ()) = tokio::join!(one.stop(), async {
        while count(&metrics(&agent).await, "kiam_stream_moves_total{why=\"go_away\"}") == Some(0) {
            key(&agent, pod).await;
        }
    });
    assert_eq!(stopped.expect("it ran").code(), Some(0));
    shows(&agent, "kiam_stream_connected", 1).await;
    key(&agent, pod).await;
    shows(&agent, "kiam_stream_moves_total{why=\"lost\"}", 0).await;
    assert_eq!(answers(&agent, "server").await, 0);
    around.kube.annotate_pod("apps", "reader", "iam.amazonaws.com/role", Some("writer"));
    eventually("the second server's word", async || {
        (get(pod, agent.addresses().main, CREDENTIALS).await.body == "writer").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_stream_is_renewed_when_its_connection_has_grown_old() {
    let around = Emulated::start().await;
    let pod = around.run_pod("reader", "reader");
    let server = around.server().flag("--grpc-max-connection-age-duration", "1s");
    let (_server, agent) = around.run(server).await;
    shows(&agent, "kiam_ledger_sessions", 1).await;
    let before = key(&agent, pod).await;
    eventually("three renewals", async || {
        assert_eq!(key(&agent, pod).await, before);
        count(&metrics(&agent).await, "kiam_stream_moves_total{why=\"go_away\"}").filter(|moves| *moves >= 3)
    })
    .await;
    assert_eq!(answers(&agent, "server").await, 0);
    shows(&agent, "kiam_stream_moves_total{why=\"lost\"}", 0).await;
}

#[tokio::test]
async fn only_the_node_that_is_named_is_supplied_and_only_where_it_is_wanted() {
    let around = Emulated::start().await;
    let pod = around.run_pod("reader", "reader");
    let server = around.logs.start("server", &around.server()).await;
    let address = server.addresses().main;
    for (name, flag, value, connected, sessions) in [
        ("named", "--node-name", "node-a", 1, 1),
        ("other", "--node-name", "node-b", 1, 0),
        ("calls", "--push", "false", 0, 0),
    ] {
        let agent = around.logs.start(name, &around.agent(address).flag(flag, value)).await;
        shows(&agent, "kiam_stream_connected", connected).await;
        shows(&agent, "kiam_ledger_sessions", sessions).await;
        key(&agent, pod).await;
        assert_eq!(answers(&agent, "ledger").await, sessions, "{name}");
    }
}
