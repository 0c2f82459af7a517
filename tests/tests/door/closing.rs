//! While the agent is away pods meet a closed door: whatever happens to it, nothing of theirs reaches the metadata
//! service.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kiam_tests::netns::{CONTAINER_CREDENTIALS, METADATA, Pod, World, inside};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::backends::{ALL, BINARY, Backend};

/// A pod that asks for its role without a pause, until told to stop; then it says how often it was answered, and with
/// what else but its own role.
struct Asking {
    stop: Arc<AtomicBool>,
    asked: JoinHandle<(usize, Vec<String>)>,
}

impl Asking {
    fn start(pod: &Pod) -> Self {
        let (stop, pod) = (Arc::new(AtomicBool::new(false)), pod.clone());
        let asked = tokio::spawn({
            let stop = stop.clone();
            async move {
                let (mut answers, mut wrong) = (0, Vec::new());
                while !stop.load(Ordering::Relaxed) {
                    for address in METADATA {
                        match pod.ask(address).await {
                            Some(answer) if answer.body == pod.role => answers += 1,
                            Some(answer) if answer.status.is_success() => wrong.push(answer.body),
                            Some(_) | None => {}
                        }
                    }
                }
                (answers, wrong)
            }
        });
        Self { stop, asked }
    }

    async fn end(self) -> (usize, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        self.asked.await.unwrap()
    }
}

async fn nothing_gets_past_an_agent_that_is_away(backend: Backend) {
    let mut world = World::start(BINARY).await;
    let pods = [world.pod("eni1"), world.pod("eni2")];
    let flags = backend.flags("eni+");
    let mut agent = world.agent(&flags, &backend.path()).await.unwrap();
    let asking = pods.each_ref().map(Asking::start);
    for _ in 0..3 {
        agent.kill().await.unwrap();
        assert_eq!(pods[0].role_at(METADATA[0]).await, "no answer");
        agent = world.agent(&flags, &backend.path()).await.unwrap();
        assert_eq!(pods[0].role_at(METADATA[0]).await, pods[0].role);
    }
    // Rolled, as a DaemonSet is.
    for _ in 0..2 {
        agent.stop().await.unwrap();
        assert_eq!(pods[1].role_at(METADATA[1]).await, "no answer");
        agent = world.agent(&flags, &backend.path()).await.unwrap();
        assert_eq!(pods[1].role_at(METADATA[1]).await, pods[1].role);
    }
    // In a crash loop: it dies at any moment of its start.
    agent.kill().await.unwrap();
    for lives in (5..=100).step_by(5).map(Duration::from_millis) {
        let _dies_when_dropped = timeout(lives, world.agent(&flags, &backend.path())).await;
    }
    for asking in asking {
        let (answers, wrong) = asking.end().await;
        assert!(answers > 0, "it never came to the agent");
        assert_eq!(wrong, Vec::<String>::new());
    }
    assert_eq!(world.metadata.seen(), (0, 0), "{backend:?}: the node's own metadata service was reached");
}

#[test]
fn by_nftables_nothing_gets_past_an_agent_that_is_killed_rolled_or_crashing() {
    inside(nothing_gets_past_an_agent_that_is_away(Backend::Nftables));
}

#[test]
fn by_iptables_nothing_gets_past_an_agent_that_is_killed_rolled_or_crashing() {
    inside(nothing_gets_past_an_agent_that_is_away(Backend::Iptables));
}

#[test]
fn by_older_iptables_nothing_gets_past_an_agent_that_is_killed_rolled_or_crashing() {
    inside(nothing_gets_past_an_agent_that_is_away(Backend::IptablesLegacy));
}

#[test]
fn other_ports_and_protocols_of_the_metadata_addresses_are_closed() {
    inside(async {
        let mut world = World::start(BINARY).await;
        let pod = world.pod("eni1");
        for backend in ALL {
            let mut agent = world.agent(&backend.flags("eni+"), &backend.path()).await.unwrap();
            for address in METADATA.into_iter().chain(CONTAINER_CREDENTIALS) {
                for port in [22, 53, 443] {
                    assert!(!pod.connects((address, port).into()).await, "{address} {port}");
                    pod.send_packet((address, port).into()).await;
                }
                pod.send_packet((address, 80).into()).await;
                assert!(pod.connects((address, 80).into()).await, "{backend:?} {address}: that port is the agent's");
            }
            agent.kill().await.unwrap();
            assert_eq!(backend.command("remove", "eni+").0, Some(0));
        }
        assert_eq!(world.metadata.seen(), (0, 0));
    });
}

#[test]
fn where_the_node_has_no_ipv6_address_for_it_the_ipv6_metadata_service_is_closed() {
    inside(async {
        let mut world = World::start(BINARY).await;
        let pod = world.pod("eni1");
        for backend in ALL {
            let flags = backend.flags("eni+").replace(",fd00:a::1", "");
            let mut agent = world.agent(&flags, &backend.path()).await.unwrap();
            assert_eq!(pod.role_at(METADATA[0]).await, pod.role);
            assert_eq!(pod.role_at(METADATA[1]).await, "no answer");
            agent.kill().await.unwrap();
            assert_eq!(backend.command("remove", "eni+").0, Some(0));
        }
        assert_eq!(world.metadata.seen(), (0, 0));
    });
}

#[test]
fn a_connection_to_the_metadata_service_from_before_the_rules_is_cut() {
    inside(async {
        let mut world = World::start(BINARY).await;
        let pod = world.pod("eni1");
        for backend in ALL {
            let (from, to) = (pod.ips[0], (METADATA[0], 80).into());
            let connected = pod.namespace.run(kiam_tests::real::http::connect(from, to));
            let mut before = connected.await.expect("there are no rules yet");
            let mut agent = world.agent(&backend.flags("eni+"), &backend.path()).await.unwrap();
            let reached = world.metadata.seen();
            before.write_all(b"GET /latest/meta-data/ HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
            let answered = timeout(Duration::from_millis(500), before.read_u8()).await;
            assert!(!matches!(answered, Ok(Ok(_))), "{backend:?}: {answered:?}");
            assert_eq!(world.metadata.seen(), reached);
            agent.kill().await.unwrap();
            assert_eq!(backend.command("remove", "eni+").0, Some(0));
        }
    });
}
