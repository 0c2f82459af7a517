//! F2: every server is gone for longer than what is not pinned counts.

use futures_util::future::join_all;
use http::StatusCode;
use kiam_tests::netns::World;
use kiam_tests::real::eventually;
use tokio::time::sleep;

use crate::load::{Load, Pod};
use crate::rig::{BINARY, Rig, alone, metric, outage, restart, second_server};

const ROUTED: u8 = 14;
const BRIDGED: u8 = 6;

#[test]
fn an_outage_of_all_servers_fails_no_request_of_a_pod_that_is_pinned() {
    alone(async {
        let mut world = World::start(BINARY).await;
        let (mut second, servers) = second_server(&world.stack).await;
        world.servers = servers;
        let agent = world.agent("--bind=10.0.0.1 --port=0 --max-stale=2s", "").await.expect("an agent");
        let routed = (0..ROUTED).map(|number| world.pod(&format!("eni{number}"))).collect::<Vec<_>>();
        let bridged = (0..BRIDGED).map(|_| world.pod_on_bridge("cni0")).collect::<Vec<_>>();
        let addr = agent.addresses().main;
        let known = |pod| {
            let kiam_tests::netns::Pod { ips: [ip, _], role, namespace, .. } = pod;
            Pod { ip, role, agent: addr, namespace: Some(namespace) }
        };
        let pods: Vec<Pod> = routed.into_iter().chain(bridged).map(known).collect();
        join_all(pods.iter().map(Pod::waits_for_its_role)).await;
        eventually("the pods to be pinned, with credentials", async || {
            let sessions = metric(&agent, "kiam_ledger_sessions").await;
            let pinned = metric(&agent, r#"kiam_ledger_bindings{standing="pinned"}"#).await;
            // Both addresses of those that have an interface of their own; of the others, the one that they used.
            (pinned >= f64::from(2 * ROUTED + BRIDGED) && sessions >= f64::from(ROUTED + BRIDGED)).then_some(())
        })
        .await;

        let load = Load::start(&pods);
        for server in [&mut world.stack.server, &mut second] {
            server.kill().await.expect("the server is killed");
        }
        sleep(outage()).await;
        for server in [&mut world.stack.server, &mut second] {
            restart(server).await;
        }
        eventually("a server to supply the agent", async || {
            (metric(&agent, "kiam_stream_connected").await > 0.0).then_some(())
        })
        .await;
        let tally = load.stop(&world.stack.sts).await;
        println!("F2: {tally}; {} pinned pods, no server for {:?}", pods.len(), outage());
        tally.assert_none_failed();
    });
}

#[test]
fn pods_that_are_not_pinned_are_told_why_they_are_refused_and_served_when_a_server_is_back() {
    alone(async {
        let mut rig = Rig::start(&["--max-stale=2s"]).await;
        for turn in 0..2 {
            rig.server(turn).kill().await.expect("the server is killed");
        }
        assert_eq!(rig.pods[0].role_now().await, (StatusCode::OK, rig.pods[0].role.clone()));
        sleep(outage()).await;
        let refused = join_all(rig.pods.iter().map(Pod::role_now)).await;
        for (status, body) in &refused {
            let body: serde_json::Value = serde_json::from_str(body).expect("JSON");
            assert_eq!((*status, body["Code"].as_str()), (StatusCode::SERVICE_UNAVAILABLE, Some("Stale")));
        }
        for turn in 0..2 {
            restart(rig.server(turn)).await;
        }
        join_all(rig.pods.iter().map(Pod::waits_for_its_role)).await;
        println!("F2: {} pods that are not pinned: refused after 2 s, served again", refused.len());
    });
}
