//! Rules that somebody changes by hand are back within a second.

use std::time::Duration;

use kiam_common::testing::metrics;
use kiam_tests::netns::{METADATA, World, inside, sh};
use kiam_tests::real::http::{LOCALHOST, get};
use tokio::time::{Instant, sleep};

use crate::backends::{BINARY, Backend};

const REPAIRS: &str = r#"kiam_interception_repairs_total{noticed="change"}"#;
/// A second, if nobody else works on this machine; the next look that is only due would come after half a minute.
const PATIENCE: Duration = Duration::from_secs(20);

async fn what_is_broken_by_hand_is_back_within_a_second(backend: Backend) {
    let mut world = World::start(BINARY).await;
    let pod = world.pod("eni1");
    let agent = world.agent(&backend.flags("eni+"), &backend.path()).await.unwrap();
    let metric = async |name: &str| {
        let text = get(LOCALHOST, agent.addresses().ops, "/metrics").await.body;
        metrics::value(&text, name).unwrap()
    };
    for way in backend.vandalism() {
        let before = metric(REPAIRS).await;
        sh(&way);
        let broken = Instant::now();
        while metric(REPAIRS).await <= before {
            assert!(broken.elapsed() < PATIENCE, "{way}: {}", backend.command("show", "eni+").1);
            sleep(Duration::from_millis(10)).await;
        }
        println!("{backend:?}: back {:?} after {way}", broken.elapsed());
        assert_eq!(backend.command("check", "eni+").0, Some(0), "{way}");
    }
    for address in METADATA {
        assert_eq!(pod.role_at(address).await, pod.role);
    }
    assert!(metric("kiam_interception_healthy").await > 0.0);
    assert!((metric("kiam_interception_interfaces").await - 1.0).abs() < 0.1);
    assert_eq!(get(LOCALHOST, agent.addresses().ops, "/ready").await.status, 200);
}

#[test]
fn by_nftables_what_is_broken_by_hand_is_back_within_a_second() {
    inside(what_is_broken_by_hand_is_back_within_a_second(Backend::Nftables));
}

#[test]
fn by_iptables_what_is_broken_by_hand_is_back_within_a_second() {
    inside(what_is_broken_by_hand_is_back_within_a_second(Backend::Iptables));
}

#[test]
fn by_older_iptables_what_is_broken_by_hand_is_back_within_a_second() {
    inside(what_is_broken_by_hand_is_back_within_a_second(Backend::IptablesLegacy));
}
