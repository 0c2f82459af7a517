//! Addresses that are given to another pod, sooner than anybody has told the agent: never an answer for the last pod.

use std::net::IpAddr;

use kiam_tests::netns::{Link, METADATA, Pod, World, inside};
use kiam_tests::real::eventually;
use rustix::process::{Pid, Signal, kill_process};

use crate::backends::{BINARY, Backend};

/// What becomes of the agent's knowledge while the pod is replaced.
#[derive(Clone, Copy, Debug)]
enum Supply {
    /// The stream is up; the server itself has not heard yet.
    Up,
    /// The stream is up, but nothing comes.
    Slow,
    /// There is no server.
    Down,
}

#[test]
fn a_routed_pods_address_is_not_its_successors_identity() {
    inside(async { replacing(Link::Routed, "eni+", ["eni1", "eni2"]).await });
}

#[test]
fn a_bridged_pods_address_is_not_its_successors_identity() {
    inside(async { replacing(Link::Bridged("cni0"), "cni0", ["veth1", "veth2"]).await });
}

async fn replacing(link: Link<'_>, pattern: &str, interfaces: [&str; 2]) {
    let mut world = World::start(BINARY).await;
    let agent = world.agent(&Backend::Nftables.flags(pattern), "").await.unwrap();
    let mut pod = match link {
        Link::Routed => world.pod(interfaces[0]),
        Link::Bridged(bridge) => world.pod_on_bridge(bridge),
    };
    let mut other = interfaces.iter().cycle().skip(1);
    for supply in [Supply::Up, Supply::Slow, Supply::Down] {
        for metadata in METADATA {
            served(&pod, metadata).await;
        }
        match supply {
            Supply::Up => {}
            Supply::Slow => signal(&world, Signal::STOP),
            Supply::Down => world.stack.server.kill().await.unwrap(),
        }
        let next = world.replacement(&pod, link, other.next().unwrap());
        for _ in 0..3 {
            for metadata in METADATA {
                let role = next.role_at(metadata).await;
                assert_ne!(
                    role,
                    pod.role,
                    "{link:?} {supply:?} {metadata}: the last pod's role\n{}",
                    agent.last_lines()
                );
            }
        }
        world.bury(&pod);
        world.announce(&next);
        match supply {
            Supply::Up => {}
            Supply::Slow => signal(&world, Signal::CONT),
            Supply::Down => world.stack.start_server_again().await.unwrap(),
        }
        pod = next;
    }
    for metadata in METADATA {
        served(&pod, metadata).await;
    }
}

#[test]
fn a_pod_that_stays_is_served_while_there_is_no_server() {
    inside(async {
        let mut world = World::start(BINARY).await;
        let flags = format!("{} --max-stale=100ms", Backend::Nftables.flags("eni+,cni0"));
        let _agent = world.agent(&flags, "").await.unwrap();
        let pods = [world.pod("eni1"), world.pod_on_bridge("cni0")];
        for pod in &pods {
            served(pod, METADATA[0]).await;
        }
        world.stack.server.kill().await.unwrap();
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        for pod in &pods {
            assert_eq!(pod.role_at(METADATA[0]).await, pod.role, "its link has not changed");
        }
    });
}

/// Waits until the pod has its own role.
async fn served(pod: &Pod, metadata: IpAddr) {
    eventually("the pod to be served", async || (pod.role_at(metadata).await == pod.role).then_some(())).await;
}

fn signal(world: &World, signal: Signal) {
    let id = world.stack.server.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    kill_process(id.expect("the server runs"), signal).expect("it is ours");
}
