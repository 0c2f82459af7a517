//! Who sees what of the nodes and pods. Operators are told by certificates, which connections in memory have none of:
//! the end-to-end tests have them.

use kiam_common::reason::{Reason, Refusal};
use kiam_proto::node::explain_request::Pod;
use kiam_proto::node::fleet_client::FleetClient;
use kiam_proto::node::node_message::Message as Said;
use kiam_proto::node::node_sync_client::NodeSyncClient;
use kiam_proto::node::{
    ExplainRequest, Explanation, Hello, ListNodesRequest, ListNodesResponse, NodeMessage, Outcome, PodName,
    ServerMessage,
};
use tokio_stream::StreamExt as _;
use tonic::{Code, Status, Streaming};

use super::node_binding::{bearing, two_nodes};
use super::{Stand, settle};

fn named(namespace: &str, name: &str) -> Pod {
    Pod::Name(PodName { namespace: namespace.into(), name: name.into() })
}

impl Stand {
    async fn explain(&self, token: Option<&str>, pod: impl Into<Option<Pod>>) -> Result<Explanation, Status> {
        let request = bearing(token, ExplainRequest { pod: pod.into() });
        Ok(FleetClient::new(self.channel.clone()).explain(request).await?.into_inner())
    }

    async fn nodes(&self, token: Option<&str>) -> Result<ListNodesResponse, Status> {
        let request = bearing(token, ListNodesRequest::default());
        Ok(FleetClient::new(self.channel.clone()).list_nodes(request).await?.into_inner())
    }

    /// Opens a stream for a node, which lasts until it is dropped.
    async fn stream(&self, token: Option<&str>, node: &str) -> Streaming<ServerMessage> {
        let hello = Said::Hello(Hello { node: node.into(), ..Hello::default() });
        let said = tokio_stream::once(NodeMessage { message: Some(hello) }).chain(tokio_stream::pending());
        let mut told = NodeSyncClient::new(self.channel.clone()).sync(bearing(token, said)).await.unwrap().into_inner();
        told.message().await.unwrap().unwrap();
        told
    }
}

fn names(listed: &ListNodesResponse) -> Vec<&str> {
    listed.nodes.iter().map(|node| node.name.as_str()).collect()
}

#[tokio::test(start_paused = true)]
async fn where_nothing_binds_agents_each_sees_what_it_may_ask_for_and_that_is_all() {
    let stand = Stand::with_reader().await;
    let stream = stand.stream(None, "node-1").await;
    for pod in [named("team", "a"), Pod::Ip("10.0.0.1".into())] {
        let explanation = stand.explain(None, pod).await.unwrap();
        assert!(explanation.supplied_here);
        let step = |check: &str| explanation.steps.iter().find(|step| step.check == check).unwrap();
        assert_eq!(step("namespace").outcome(), Outcome::Good);
        assert_eq!(step("node").outcome(), Outcome::Good);
    }
    let unknown = stand.explain(None, named("team", "b")).await.unwrap();
    assert_eq!((unknown.supplied_here, unknown.steps[0].outcome()), (false, Outcome::Bad));
    let listed = stand.nodes(None).await.unwrap();
    assert_eq!((names(&listed), listed.waiting_for.is_empty()), (vec!["node-1"], true));
    drop(stream);
}

#[tokio::test(start_paused = true)]
async fn looking_asks_sts_for_nothing() {
    let stand = Stand::with_reader().await;
    let explanation = stand.explain(None, named("team", "a")).await.unwrap();
    settle().await;
    assert!(explanation.steps.iter().any(|step| step.found == "nobody has asked for them yet"));
    assert!(stand.sts.calls().is_empty());
    stand.credentials("10.0.0.1", "reader").await.unwrap();
    let explanation = stand.explain(None, named("team", "a")).await.unwrap();
    let told = format!("{explanation:?}");
    assert!(told.contains("valid for") && !told.contains("ASIA"), "{told}");
}

#[tokio::test(start_paused = true)]
async fn an_agent_of_a_node_sees_its_own_pods_and_no_others() {
    let stand = two_nodes().await;
    let (east, west) = (Some("token-of-east"), Some("token-of-west"));
    let streams = [stand.stream(east, "east").await, stand.stream(west, "west").await];
    for (token, own, other) in [(east, "east", "west"), (west, "west", "east")] {
        assert_eq!(names(&stand.nodes(token).await.unwrap()), [own]);
        assert!(stand.explain(token, named("team", own)).await.unwrap().supplied_here);
        // Whether there is such a pod is not told either.
        for pod in [named("team", other), named("team", "nobody"), Pod::Ip("10.0.0.9".into())] {
            let refused = stand.explain(token, pod).await.unwrap_err();
            assert_eq!(
                (refused.code(), Refusal::from_status(&refused).reason),
                (Code::PermissionDenied, Reason::WrongNode)
            );
        }
    }
    drop(streams);
}

#[tokio::test(start_paused = true)]
async fn an_agent_of_no_node_that_is_known_sees_nothing() {
    let stand = two_nodes().await;
    for token in [None, Some("forged")] {
        assert_eq!(stand.nodes(token).await.unwrap_err().code(), Code::Unauthenticated);
        let refused = stand.explain(token, named("team", "east")).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated);
    }
}

#[tokio::test(start_paused = true)]
async fn what_names_no_pod_is_refused() {
    let stand = Stand::with_reader().await;
    let long = "x".repeat(254);
    for pod in [None, Some(named("", "a")), Some(named("team", "")), Some(named("team", &long)), Some(Pod::Ip(long))] {
        assert_eq!(stand.explain(None, pod).await.unwrap_err().code(), Code::InvalidArgument);
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_not_ready_says_so() {
    let stand = Stand::with_reader().await;
    stand.pods_listed.set();
    let refused = stand.explain(None, named("team", "a")).await.unwrap_err();
    assert_eq!(Refusal::from_status(&refused).reason, Reason::ServerNotReady);
    assert_eq!(stand.nodes(None).await.unwrap().waiting_for, ["pods"]);
}
