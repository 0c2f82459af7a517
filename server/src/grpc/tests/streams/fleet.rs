//! What the fleet view shows.

use kiam_common::testing::CapturedLog;
use kiam_proto::node::fleet_client::FleetClient;
use kiam_proto::node::node_message::Message as Said;
use kiam_proto::node::{Hello, Interception, ListNodesRequest, ListNodesResponse, NodeMessage, Status};

use super::super::{Stand, settle};

impl Stand {
    async fn fleet(&self) -> ListNodesResponse {
        FleetClient::new(self.channel.clone()).list_nodes(ListNodesRequest::default()).await.unwrap().into_inner()
    }
}

#[tokio::test(start_paused = true)]
async fn the_fleet_shows_each_stream_with_what_its_agent_last_said() {
    let stand = Stand::with_reader().await;
    let (other, mut agent) = (stand.sync("node-0").await.unwrap(), stand.synced().await);
    let status = Status {
        applied_sequence: 3,
        requests: 7,
        certificate_not_after: 1_800_000_000,
        pinned: 1,
        unpinned: 2,
        interception: Interception::Healthy.into(),
    };
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    agent.says.send(NodeMessage { message: Some(Said::Status(status)) }).await.unwrap();
    agent.says.send(NodeMessage::default()).await.unwrap();
    agent.news().await;
    let fleet = stand.fleet().await;
    assert_eq!(fleet.server_version, kiam_common::VERSION);
    let names: Vec<_> = fleet.nodes.iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names, ["node-0", "node-1"]);
    let node = &fleet.nodes[1];
    assert_eq!((node.status, node.sent_sequence, node.binding.as_str()), (Some(status), 4, "off"));
    assert_eq!((node.agent_version.as_str(), node.config_hash.as_str()), (kiam_common::VERSION, "c0ffee"));
    assert_eq!(node.last_seen - node.connected_since, 5);
    assert_eq!(fleet.nodes[0].status, None);
    drop((agent, other));
    settle().await;
    assert!(stand.fleet().await.nodes.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_agent_is_at_work_once_it_has_said_how_its_rules_are_and_that_they_are_not_broken() {
    let stand = Stand::with_reader().await;
    let says =
        |interception: i32| NodeMessage { message: Some(Said::Status(Status { interception, ..Status::default() })) };
    let agent = stand.synced().await;
    let [first] = &stand.fleet.at_work()[..] else { panic!("one agent") };
    assert_eq!((&*first.node, first.is_at_work), ("node-1", false));
    for (interception, is_at_work) in [
        (Interception::Broken.into(), false),
        (Interception::Healthy.into(), true),
        (Interception::Unspecified.into(), true),
        // Of an agent that says more than this server knows.
        (77, false),
    ] {
        agent.says.send(says(interception)).await.unwrap();
        settle().await;
        let [now] = &stand.fleet.at_work()[..] else { panic!("one agent") };
        assert_eq!((now.stream, now.is_at_work), (first.stream, is_at_work), "{interception}");
    }
    let next = stand.synced().await;
    let [second] = &stand.fleet.at_work()[..] else { panic!("one agent of each node") };
    assert!(second.stream > first.stream && !second.is_at_work, "what the one before said is not the next one's word");
    drop((agent, next));
}

#[tokio::test(start_paused = true)]
async fn an_agent_of_another_version_is_counted_and_warned_of_once() {
    let log = CapturedLog::start();
    let stand = Stand::new().await;
    let hello = Hello { node: "node-1".into(), agent_version: "0.0.9".into(), ..Hello::default() };
    let agent = stand.sync_with(NodeMessage { message: Some(Said::Hello(hello)) }).await.unwrap();
    let same = stand.synced().await;
    assert_eq!((stand.count("kiam_nodes_connected"), stand.count("kiam_nodes_version_mismatch")), (1, 1));
    assert_eq!(log.text().matches("versions do not match").count(), 1);
    drop((agent, same));
    settle().await;
    assert_eq!((stand.count("kiam_nodes_connected"), stand.count("kiam_nodes_version_mismatch")), (0, 0));
}
