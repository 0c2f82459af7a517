//! The server's process ends and starts again while pods ask.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use kiam_tests::kube_api::Pod;
use kiam_tests::real::eventually;
use kiam_tests::real::http::get;
use kiam_tests::stack::{Setup, Stack};
use kiam_tests::sts::{Fault, Scope};
use tokio::task::JoinSet;

const PODS: u8 = 20;

/// The product, with a permissive namespace `team`.
pub(crate) async fn stack() -> Stack {
    let stack = Stack::start(Setup::new(env!("CARGO_BIN_EXE_kiam-sandbox"), &["node-a"])).await.unwrap();
    permit(&stack);
    stack
}

/// Lets the namespace `team` have every role.
pub(crate) fn permit(stack: &Stack) {
    stack.kube.put_namespace("team", &[("iam.amazonaws.com/permitted", ".*")]);
}

/// Adds a pod and returns its address.
pub(crate) fn add_pod(stack: &Stack, number: u8) -> IpAddr {
    let ip = IpAddr::from([127, 9, 0, number + 1]);
    stack.kube.put_pod(&Pod::new(
        "team",
        &format!("pod-{number}"),
        "node-a",
        &ip.to_string(),
        &format!("role-{number}"),
    ));
    ip
}

#[tokio::test]
async fn a_server_that_is_stopped_or_killed_and_comes_back_is_not_noticed() {
    let mut stack = stack().await;
    stack.sts.set_fault(Scope::Everyone, Fault::Delay(Duration::from_millis(100)));
    let pods: Vec<IpAddr> = (0..PODS).map(|number| add_pod(&stack, number)).collect();
    let agent = stack.nodes[0].agent.addresses().main;
    let (done, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut asking = JoinSet::new();
    for (number, ip) in pods.into_iter().enumerate() {
        let (done, answered) = (Arc::clone(&done), Arc::clone(&answered));
        asking.spawn(async move {
            let path = format!("/latest/meta-data/iam/security-credentials/role-{number}");
            while !done.load(Ordering::Relaxed) {
                let answer = get(ip, agent, &path).await;
                assert_eq!(answer.status, 200, "{}", answer.body);
                answered.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    for kill in [false, true, false, true] {
        let before = answered.load(Ordering::Relaxed);
        eventually("some hundred answers", async || (answered.load(Ordering::Relaxed) > before + 300).then_some(()))
            .await;
        if kill {
            stack.server.kill().await.unwrap();
        } else {
            stack.server.stop().await.unwrap();
        }
        stack.start_server_again().await.unwrap();
    }
    let before = answered.load(Ordering::Relaxed);
    eventually("answers of the last server", async || (answered.load(Ordering::Relaxed) > before + 100).then_some(()))
        .await;
    done.store(true, Ordering::Relaxed);
    asking.join_all().await;
    // Each of the five processes asks once for each role, if it lives long enough: its agent goes on with what it has.
    let calls = stack.sts.calls().len();
    assert!((usize::from(PODS)..=5 * usize::from(PODS)).contains(&calls), "{calls}");
}
