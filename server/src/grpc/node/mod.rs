//! `kiam.node.v1.NodeSync`: opens an agent's stream. [`session`] supplies it, [`wire`] encodes what it is told.

mod session;
pub mod wire;

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::{BoxStream, poll_fn};
use kiam_common::clock::Clock;
use kiam_common::ops::Readiness;
use kiam_common::shutdown::Shutdown;
use kiam_proto::encoding::node::node_message::Message;
use kiam_proto::encoding::node::node_sync_server::NodeSync;
use kiam_proto::encoding::node::{Hello, NodeMessage, ServerMessage};
use tokio::sync::mpsc;
use tonic::{Request, Response, Status, Streaming};

use super::errand::Errand;
use super::evidence::evidence;
use super::fleet::{Connected, Fleet, Heard, VERSION};
use super::lifetime::Lifetime;
use super::status::status;
use crate::desk::Desk;
use crate::error::Error;
use crate::metrics::StreamMetrics;
use crate::node_binding::NodeBinding;
pub use session::End;
use session::Session;
use wire::Encoder;

/// How long an agent may take to say who it is.
const HELLO_WITHIN: Duration = Duration::from_secs(5);
/// How many messages wait for the connection to take them.
const QUEUE: usize = 16;

/// What streams are made of.
pub struct Supplier {
    /// Says when the directory is complete: a snapshot must be.
    pub readiness: Readiness,
    /// Says which node an agent may have a stream for.
    pub node_binding: Arc<NodeBinding>,
    /// Knows what each node is to be told.
    pub desk: Arc<Desk>,
    /// The clock that the vault tells the ends of credentials by.
    pub clock: Clock,
    /// Knows the streams.
    pub fleet: Arc<Fleet>,
    /// Counts what is sent, and how streams end.
    pub metrics: StreamMetrics,
    /// Sends the agents to other servers.
    pub shutdown: Shutdown,
}

/// The service.
pub(super) struct Node(pub(super) Arc<Supplier>);

#[tonic::async_trait]
impl NodeSync for Node {
    type SyncStream = BoxStream<'static, Result<ServerMessage, Status>>;

    async fn sync(&self, request: Request<Streaming<NodeMessage>>) -> Result<Response<Self::SyncStream>, Status> {
        let lifetime = request.extensions().get::<Lifetime>().cloned().unwrap_or_default();
        let peer = request.remote_addr();
        let (metadata, extensions, mut inbound) = request.into_parts();
        let envelope = Request::from_parts(metadata, extensions, ());
        let hello = self.0.welcome(&envelope, &mut inbound).await.map_err(|error| {
            self.0.metrics.ended(End::Refused);
            tracing::info!(peer = peer.map(tracing::field::display), "stream refused: {error}");
            status(&error)
        })?;
        let (node, now) = (hello.node.as_str().into(), self.0.clock.now());
        let heard = Mutex::new(Heard { at: now, status: None });
        let connected = Connected {
            node,
            hello,
            peer,
            binding: self.0.node_binding.name(),
            since: now,
            sent: AtomicU64::default(),
            heard,
            errand: Errand::default(),
        };
        if !connected.is_of_this_version() {
            let (node, version) = (&connected.node, &connected.hello.agent_version);
            tracing::warn!(%node, agent_version = version, server_version = VERSION, "versions do not match");
        }
        let (outbound, mut queue) = mpsc::channel(QUEUE);
        let membership = self.0.fleet.join(connected);
        let mut encoder = Encoder::new(Arc::clone(&self.0), Arc::clone(&membership.connected));
        tokio::spawn(Session::new(Arc::clone(&self.0), membership, inbound, outbound, lifetime).run());
        let messages = poll_fn(move |context| queue.poll_recv(context));
        Ok(Response::new(messages.map(move |outgoing| Ok(encoder.encode(outgoing))).boxed()))
    }
}

impl Supplier {
    /// Waits for the agent to say who it is, and sees to it that it may say so.
    async fn welcome(&self, envelope: &Request<()>, inbound: &mut Streaming<NodeMessage>) -> Result<Hello, Error> {
        if self.shutdown.has_begun() {
            return Err(Error::Stopping);
        }
        Error::unless_ready(&self.readiness)?;
        let first = tokio::time::timeout(HELLO_WITHIN, inbound.message()).await;
        let Ok(Ok(Some(NodeMessage { message: Some(Message::Hello(hello)) }))) = first else {
            return Err(Error::BadHello("a stream begins with Hello"));
        };
        if !is_node_name(&hello.node) {
            return Err(Error::BadHello("the node in Hello is not the name of a Kubernetes node"));
        }
        self.node_binding.admit(evidence(envelope), &hello.node).await?;
        Ok(hello)
    }
}

/// A DNS subdomain, as Kubernetes has it.
fn is_node_name(text: &str) -> bool {
    let is_name_char = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.');
    (1..=253).contains(&text.len()) && text.bytes().all(is_name_char)
}
