//! The machine's clock is set while the server runs.

use jiff::Timestamp;
use kiam_common::clock::Clock;
use kiam_tests::real::http::get;
use kiam_tests::real::{eventually, faketime};
use kiam_tests::stack::{Setup, Stack};
use kiam_tests::sts::{Fault, Scope};

use crate::restart::{add_pod, permit};

#[tokio::test]
async fn steps_of_an_hour_either_way_change_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let set = directory.path().join("clock");
    std::fs::write(&set, "+0").unwrap();
    let sandbox = Setup::new(env!("CARGO_BIN_EXE_kiam-sandbox"), &["node-a"]);
    let setup = Setup { server_environment: faketime::set_by(&set), ..sandbox };
    let stack = Stack::start(setup).await.unwrap();
    permit(&stack);
    stack.sts.set_fault(Scope::Everyone, Fault::SessionLife(std::time::Duration::from_secs(6)));
    let (pod, agent, wall) = (add_pod(&stack, 0), stack.nodes[0].agent.addresses().main, Clock::system());
    for step in ["+0", "+1h", "-1h", "+1h", "+0"] {
        // Replaced as a whole, as the server may read it at any time.
        std::fs::write(directory.path().join("next"), step).unwrap();
        std::fs::rename(directory.path().join("next"), &set).unwrap();
        let before = stack.sts.calls().len();
        eventually("two renewals", async || {
            let answer = get(pod, agent, "/latest/meta-data/iam/security-credentials/role-0").await;
            assert_eq!(answer.status, 200, "after {step}: {}", answer.body);
            let ends: Timestamp = answer.field("Expiration").parse().unwrap();
            assert!(ends > wall.now(), "after {step}: {}", answer.body);
            (stack.sts.calls().len() >= before + 2).then_some(())
        })
        .await;
    }
    let calls = stack.sts.calls().len();
    assert!((10..=20).contains(&calls), "{calls} calls");
}
