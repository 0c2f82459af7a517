//! What an agent is told on its stream.

use std::time::Duration;

use kiam_proto::node::bind::Decision;
use kiam_proto::node::node_message::Message as Said;
use kiam_proto::node::node_sync_client::NodeSyncClient;
use kiam_proto::node::server_message::Message;
use kiam_proto::node::{Grant, Hello, NodeMessage, Status};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Streaming};

use super::{Stand, settle};
use crate::directory::change::Change;
use crate::fixtures::{READER, namespace, pod};

/// An agent with a stream.
struct Agent {
    says: mpsc::Sender<NodeMessage>,
    told: Streaming<kiam_proto::node::ServerMessage>,
    sequence: u64,
}

fn hello(node: &str) -> NodeMessage {
    let hello = Hello { node: node.into(), agent_version: env!("CARGO_PKG_VERSION").into(), ..Hello::default() };
    NodeMessage { message: Some(Said::Hello(hello)) }
}

impl Stand {
    async fn sync(&self, node: &str) -> Result<Agent, tonic::Status> {
        self.sync_with(hello(node)).await
    }

    async fn sync_with(&self, first: NodeMessage) -> Result<Agent, tonic::Status> {
        let (says, said) = mpsc::channel(16);
        says.send(first).await.unwrap();
        let told = NodeSyncClient::new(self.channel.clone()).sync(ReceiverStream::new(said)).await?.into_inner();
        Ok(Agent { says, told, sequence: 0 })
    }

    /// An agent of `node-1` that has its snapshot.
    async fn synced(&self) -> Agent {
        let mut agent = self.sync("node-1").await.unwrap();
        agent.snapshot().await;
        agent
    }

    /// What the watch does with a change.
    fn pass_on(&self, change: &Change) {
        self.desk.look_again(&change.touched);
    }
}

impl Agent {
    /// The next message, which must have the next number.
    async fn next(&mut self) -> Option<Message> {
        let message = self.told.message().await.ok()??;
        self.sequence += 1;
        assert_eq!(message.sequence, self.sequence);
        message.message
    }

    async fn snapshot(&mut self) -> Vec<Message> {
        let mut messages = Vec::new();
        loop {
            match self.next().await.unwrap() {
                Message::SnapshotEnd(_) => return messages,
                message => messages.push(message),
            }
        }
    }

    /// What is told within a second.
    async fn news(&mut self) -> Vec<Message> {
        let mut messages = Vec::new();
        while let Ok(Some(message)) = tokio::time::timeout(Duration::from_secs(1), self.next()).await {
            messages.push(message);
        }
        messages
    }
}

/// `address pod role session`, or the reason for a refusal.
fn told(message: &Message) -> String {
    match message {
        Message::Welcome(welcome) => format!("welcome {}", welcome.node),
        Message::Bind(bind) => {
            let name = &bind.pod.as_ref().unwrap().name;
            match bind.decision.as_ref().unwrap() {
                Decision::Role(role) => format!("bind {} {name} {} {}", bind.ip, role.name, role.session),
                Decision::Refusal(refusal) => format!("bind {} {name} {}", bind.ip, refusal.reason),
            }
        }
        Message::Unbind(unbind) => format!("unbind {}", unbind.ip),
        Message::Grant(Grant { session, credentials, .. }) => {
            format!("grant {session} {}", credentials.as_ref().unwrap().access_key_id)
        }
        Message::Withhold(withhold) => {
            format!("withhold {} {}", withhold.session, withhold.refusal.as_ref().unwrap().reason)
        }
        Message::Revoke(revoke) => format!("revoke {}", revoke.session),
        other => format!("{other:?}"),
    }
}

fn all(messages: &[Message]) -> Vec<String> {
    messages.iter().map(told).collect()
}

#[tokio::test(start_paused = true)]
async fn the_snapshot_has_the_nodes_own_pods_and_the_credentials_that_they_refer_to() {
    let stand = Stand::with_reader().await;
    let mut elsewhere = pod("elsewhere", "10.0.1.1", Some("reader"));
    elsewhere.node = Some("node-2".into());
    stand.directory.apply_pod(&elsewhere);
    stand.credentials("10.0.0.1", "reader").await.unwrap();
    let mut agent = stand.sync("node-1").await.unwrap();
    let messages = agent.snapshot().await;
    assert_eq!(all(&messages), ["welcome node-1", "bind 10.0.0.1 a reader 1", "grant 1 ASIA1"]);
    let Message::Grant(Grant { credentials: Some(credentials), life_ms, .. }) = &messages[2] else { panic!() };
    assert_eq!(credentials.secret_access_key, "secret-access-key-1");
    assert!((3_599_000..=3_600_000).contains(life_ms), "{life_ms}");
    assert_eq!((credentials.token.as_str(), credentials.account_id.as_str()), ("session-token-1", "123456789012"));
    let Message::Bind(bind) = &messages[1] else { panic!() };
    let Some(Decision::Role(role)) = &bind.decision else { panic!() };
    assert_eq!(role.arn, READER);
}

#[tokio::test(start_paused = true)]
async fn a_new_pod_is_told_of_with_its_credentials_as_soon_as_there_are_any() {
    let stand = Stand::with_reader().await;
    stand.sts.answer_after(Duration::from_millis(200));
    let mut agent = stand.synced().await;
    assert_eq!(all(&agent.news().await), ["grant 1 ASIA1"], "the snapshot asked for them");
    stand.pass_on(&stand.directory.apply_pod(&pod("b", "10.0.0.2", Some("reader"))));
    assert_eq!(all(&agent.news().await), ["bind 10.0.0.2 b reader 1"]);
}

#[tokio::test(start_paused = true)]
async fn a_new_rule_of_the_namespace_takes_the_role_away() {
    let stand = Stand::with_reader().await;
    let mut agent = stand.synced().await;
    assert_eq!(all(&agent.news().await), ["grant 1 ASIA1"]);
    stand.pass_on(&stand.directory.apply_namespace(&namespace("nothing")));
    assert_eq!(all(&agent.news().await), ["bind 10.0.0.1 a Forbidden", "revoke 1"]);
    stand.pass_on(&stand.directory.delete_namespace("team"));
    assert_eq!(all(&agent.news().await), ["unbind 10.0.0.1"]);
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_is_silent_for_a_minute_is_cut() {
    let stand = Stand::new().await;
    let mut agent = stand.synced().await;
    for _ in 0..3 {
        sleep(Duration::from_secs(50)).await;
        agent.says.send(NodeMessage { message: Some(Said::Status(Status::default())) }).await.unwrap();
    }
    let start = Instant::now();
    assert!(agent.next().await.is_none());
    assert_eq!(start.elapsed().as_secs(), 60);
    settle().await;
    assert_eq!(stand.count(r#"kiam_node_streams_total{end="silent"}"#), 1);
}

#[tokio::test(start_paused = true)]
async fn who_does_not_say_hello_is_refused() {
    let stand = Stand::new().await;
    let status = NodeMessage { message: Some(Said::Status(Status::default())) };
    for first in [status, NodeMessage::default(), hello(""), hello("No Node")] {
        let refused = stand.sync_with(first).await.map(|_| ()).unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
    }
    assert_eq!(stand.count(r#"kiam_node_streams_total{end="refused"}"#), 4);
    settle().await;
}
