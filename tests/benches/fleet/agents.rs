//! The agents: a process of streams, which says when it has heard of each change.

use std::io::{BufWriter, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use kiam_common::args::{KeepaliveArgs, TlsArgs};
use kiam_common::channel::connect_lazily;
use kiam_common::tls::Identity;
use kiam_proto::node::node_message::Message as Said;
use kiam_proto::node::node_sync_client::NodeSyncClient;
use kiam_proto::node::server_message::Message as Told;
use kiam_proto::node::{Hello, NodeMessage, Status};
use kiam_tests::stack::Stack;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::{Semaphore, SemaphorePermit, mpsc};
use tokio::time::interval;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use crate::clock::now;
use crate::cluster;
use crate::size::Size;

/// What the process says when a stream has ended.
const LOST: &str = "lost";
/// Between two things that an agent says.
const STATUS_EVERY: Duration = Duration::from_secs(20);

/// Streams without a snapshot at a time: the agents of a cluster do not all come at once.
const JOINING: usize = 200;

/// The process, as the other sees it.
pub(crate) struct Agents {
    _process: Child,
    said: Lines<BufReader<ChildStdout>>,
    /// Streams that ended, and were opened again.
    pub(crate) lost: usize,
}

/// What one line says.
enum Line {
    Supplied,
    Lost,
    Heard(Ipv4Addr, u64),
}

impl Agents {
    /// Starts it, and waits until every agent is supplied.
    pub(crate) async fn start(size: &Size, stack: &Stack) -> Self {
        let TlsArgs { cert, key, ca } = stack.issue("agent");
        let mut process = Command::new(std::env::current_exe().expect("this program"))
            .args(["--nodes", &size.nodes.to_string(), "--streams", &size.streams.to_string(), "agents"])
            .arg(stack.server.addresses().main.to_string())
            .args([cert, key, ca])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the agents start");
        let said = BufReader::new(process.stdout.take().expect("it is piped")).lines();
        let (mut agents, mut supplied) = (Self { _process: process, said, lost: 0 }, 0);
        while supplied < size.nodes {
            if let Line::Supplied = agents.line().await {
                supplied += 1;
            }
        }
        agents
    }

    /// Who heard next of a change, and when.
    pub(crate) async fn heard(&mut self) -> (Ipv4Addr, u64) {
        loop {
            if let Line::Heard(ip, at) = self.line().await {
                return (ip, at);
            }
        }
    }

    async fn line(&mut self) -> Line {
        let line = self.said.next_line().await.expect("a line").expect("the agents run on");
        match line.split_once(' ') {
            Some((ip, at)) => Line::Heard(ip.parse().expect("an address"), at.parse().expect("a time")),
            None if line == LOST => {
                self.lost += 1;
                Line::Lost
            }
            None => Line::Supplied,
        }
    }
}

/// The process itself: runs until it is killed.
pub(crate) async fn run(size: &Size, server: SocketAddr, files: &TlsArgs) {
    let identity = Identity::load(files).await.expect("sound files");
    let keepalive = KeepaliveArgs {
        grpc_keepalive_time_duration: Duration::from_secs(10),
        grpc_keepalive_timeout_duration: Duration::from_secs(10),
        grpc_keepalive_permit_without_stream: false,
    };
    let (say, lines) = mpsc::unbounded_channel();
    let joining = Arc::new(Semaphore::new(JOINING));
    for first in (0..size.nodes).step_by(usize::try_from(size.streams).expect("a small number")) {
        let channel = connect_lazily(server, "127.0.0.1", &identity, &keepalive, Duration::from_secs(30));
        for number in first..size.nodes.min(first + size.streams) {
            tokio::spawn(follow(channel.clone(), cluster::node(number), joining.clone(), say.clone()));
        }
    }
    tokio::task::spawn_blocking(|| print(lines)).await.expect("it prints");
}

/// An agent: as soon as a stream ends, it opens another.
async fn follow(channel: Channel, node: String, joining: Arc<Semaphore>, say: mpsc::UnboundedSender<String>) {
    let mut is_new = true;
    loop {
        let place = joining.acquire().await.expect("it is never closed");
        let ended = supplied(channel.clone(), &node, place, &mut is_new, &say).await;
        eprintln!("{node}: {}", ended.err().map_or("the server ended the stream".into(), |status| status.to_string()));
        say.send(LOST.into()).expect("somebody prints");
    }
}

/// Says once that its first snapshot is complete, and then each address that is bound anew.
async fn supplied(
    channel: Channel,
    node: &str,
    place: SemaphorePermit<'_>,
    is_new: &mut bool,
    say: &mpsc::UnboundedSender<String>,
) -> Result<(), tonic::Status> {
    let (says, said) = mpsc::channel(2);
    let hello = Hello { node: node.into(), agent_version: kiam_common::VERSION.into(), ..Hello::default() };
    says.try_send(message(Said::Hello(hello))).expect("there is room");
    let mut told = NodeSyncClient::new(channel).sync(ReceiverStream::new(said)).await?.into_inner();
    let (mut joining, mut ticks) = (Some(place), interval(STATUS_EVERY));
    loop {
        let told = tokio::select! {
            told = told.message() => told?,
            _ = ticks.tick() => {
                // Fails only when the stream has ended, which the other branch hears of.
                let _ended = says.try_send(message(Said::Status(Status::default())));
                continue;
            }
        };
        match told.map(|told| told.message) {
            None => return Ok(()),
            Some(Some(Told::SnapshotEnd(_))) => {
                joining = None;
                if std::mem::take(is_new) {
                    say.send("supplied".into()).expect("somebody prints");
                }
            }
            Some(Some(Told::Bind(bind))) if joining.is_none() => {
                say.send(format!("{} {}", bind.ip, now())).expect("somebody prints");
            }
            Some(_) => {}
        }
    }
}

fn message(said: Said) -> NodeMessage {
    NodeMessage { message: Some(said) }
}

fn print(mut lines: mpsc::UnboundedReceiver<String>) {
    let mut out = BufWriter::new(std::io::stdout().lock());
    while let Some(line) = lines.blocking_recv() {
        writeln!(out, "{line}").expect("somebody reads");
        if lines.is_empty() {
            out.flush().expect("somebody reads");
        }
    }
}
