//! An agent's stream: what it is told, how it begins and ends, and what the fleet view shows of it.

mod ends;
mod fleet;
mod metrics;
mod news;

use std::time::Duration;

use kiam_proto::node::bind::Decision;
use kiam_proto::node::node_message::Message as Said;
use kiam_proto::node::node_sync_client::NodeSyncClient;
use kiam_proto::node::server_message::Message;
use kiam_proto::node::{Grant, Hello, NodeMessage};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::Stand;
use crate::directory::change::Change;

/// An agent with a stream.
pub(super) struct Agent {
    pub(super) says: mpsc::Sender<NodeMessage>,
    told: Streaming<kiam_proto::node::ServerMessage>,
    sequence: u64,
}

fn hello(node: &str) -> NodeMessage {
    let hello = Hello {
        node: node.into(),
        agent_version: kiam_common::VERSION.into(),
        config_hash: "c0ffee".into(),
        ..Hello::default()
    };
    NodeMessage { message: Some(Said::Hello(hello)) }
}

impl Stand {
    pub(super) async fn sync(&self, node: &str) -> Result<Agent, tonic::Status> {
        self.sync_with(hello(node)).await
    }

    async fn sync_with(&self, first: impl Into<Option<NodeMessage>>) -> Result<Agent, tonic::Status> {
        let (says, said) = mpsc::channel(16);
        if let Some(message) = first.into() {
            says.send(message).await.unwrap();
        }
        let told = NodeSyncClient::new(self.channel.clone()).sync(ReceiverStream::new(said)).await?.into_inner();
        Ok(Agent { says, told, sequence: 0 })
    }

    /// An agent of `node-1` that has its snapshot.
    pub(super) async fn synced(&self) -> Agent {
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

    /// What is told within that time, in which the agent shows that it is there.
    async fn keep_for(&mut self, duration: Duration) -> Vec<Message> {
        let (end, says) = (Instant::now() + duration, self.says.clone());
        let alive = async {
            while Instant::now() < end && says.send(NodeMessage::default()).await.is_ok() {
                sleep(Duration::from_secs(10).min(end - Instant::now())).await;
            }
        };
        let told = async {
            let mut messages = Vec::new();
            while let Ok(Some(message)) = tokio::time::timeout_at(end, self.next()).await {
                messages.push(message);
            }
            messages
        };
        tokio::join!(alive, told).1
    }

    /// How many messages there are for who has not read for long.
    async fn told_so_far(mut self) -> usize {
        let mut count = 0;
        while self.next().await.is_some() {
            count += 1;
        }
        count
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
