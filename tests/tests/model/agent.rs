//! A node's agent without its connections: the real ledger, fed by streams whose messages arrive as late as the history
//! says.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use futures_util::FutureExt as _;
use kiam_agent::testing::{self, Answer};
use kiam_proto::encoding::node::server_message::Message;
use kiam_proto::encoding::node::{ServerMessage, SnapshotEnd, Welcome};
use kiam_proto::node;
use kiam_server::desk::{self, Clerk};
use prost::Message as _;
use tokio::time::Instant;

use crate::cluster::{Cluster, Sandbox};
use crate::history::{ADDRESSES, Wiring};
use crate::oracle::{Knowledge, MAX_STALE, Words};
use crate::server::Server;

pub(crate) struct Agent {
    pub(crate) node: usize,
    wiring: Wiring,
    ledger: testing::Node,
    pub(crate) knowledge: Knowledge,
    followed: Option<Stream>,
    opening: Option<Stream>,
}

struct Stream {
    server: usize,
    clerk: Clerk,
    sent: u64,
    under_way: VecDeque<Letter>,
    /// A message was lost.
    is_torn: bool,
    intake: testing::Stream,
}

/// A message under way.
struct Letter {
    bytes: Vec<u8>,
    /// What it was said of.
    words: Arc<Words>,
    /// Nothing else was said of that.
    is_last: bool,
    /// It completes the snapshot.
    completes: bool,
    sent: Instant,
}

impl Agent {
    /// One without a stream. Must be called in a tokio runtime.
    pub(crate) fn new(node: usize, wiring: Wiring) -> Self {
        let (ledger, knowledge) = (testing::Node::new(MAX_STALE), Knowledge::default());
        Self { node, wiring, ledger, knowledge, followed: None, opening: None }
    }

    /// The kernel tells where addresses lead.
    pub(crate) fn see(&self, cluster: &Cluster) {
        for ip in addresses() {
            self.ledger.lead(ip, cluster.at(self.node, ip).and_then(|sandbox| self.endpoint(sandbox)));
        }
    }

    fn endpoint(&self, sandbox: &Sandbox) -> Option<(u32, Option<[u8; 6]>)> {
        match self.wiring {
            Wiring::Routed => Some((u32::from(sandbox.number), None)),
            Wiring::Bridged => Some((1, Some([2, 0, 0, 0, 0, sandbox.number]))),
            Wiring::Opaque => None,
        }
    }

    /// Those whom the agent is told of and can see, it meets.
    pub(crate) fn meet(&mut self, cluster: &Cluster) {
        if self.is_visible() {
            self.knowledge.meet(|ip| cluster.at(self.node, ip).map(|sandbox| sandbox.uid.as_str()));
        }
    }

    pub(crate) fn is_visible(&self) -> bool {
        self.wiring != Wiring::Opaque
    }

    pub(crate) fn connect(&mut self, number: usize, server: &Server) {
        if !server.is_ready() {
            return;
        }
        let clerk = server.clerk(self.node);
        let intake = testing::Stream::default();
        let mut stream = Stream { server: number, clerk, sent: 0, under_way: VecDeque::new(), is_torn: false, intake };
        stream.send_snapshot(server, self.node);
        self.opening = Some(stream);
    }

    /// The servers of its streams say what is new.
    pub(crate) fn look(&mut self, servers: &[Server]) {
        for stream in [&mut self.followed, &mut self.opening].into_iter().flatten() {
            let server = &servers[stream.server];
            let words = Arc::new(server.words(self.node));
            let news = stream.clerk.changes().now_or_never().flatten();
            stream.send(server, news.unwrap_or_default(), &words);
        }
        let has_nothing_to_come = |stream: &&Stream| stream.under_way.is_empty() && !stream.is_torn;
        if let Some(stream) = self.followed.as_ref().filter(has_nothing_to_come) {
            self.knowledge.is_told(&Arc::new(servers[stream.server].words(self.node)));
        }
    }

    /// Messages arrive: first those of the stream that it follows.
    pub(crate) fn arrive(&mut self, messages: usize) {
        if let Some(mut stream) = self.followed.take() {
            let arrived = stream.arrived(messages);
            if stream.take(&self.ledger, &arrived) {
                for letter in &arrived {
                    self.knowledge.heard(&letter.words, letter.is_last, letter.sent);
                }
                self.followed = Some(stream);
            } else {
                self.lose(&arrived);
            }
        }
        let Some(mut stream) = self.opening.take() else { return };
        let arrived = stream.arrived(messages);
        if !stream.take(&self.ledger, &arrived) {
            return;
        }
        let Some(complete) = arrived.iter().position(|letter| letter.completes) else {
            self.opening = Some(stream);
            return;
        };
        for letter in &arrived[complete..] {
            self.knowledge.heard(&letter.words, letter.is_last, letter.sent);
        }
        self.followed = Some(stream);
    }

    fn lose(&mut self, arrived: &[Letter]) {
        // Some of it counts.
        for letter in arrived {
            self.knowledge.heard(&letter.words, false, letter.sent);
        }
        self.cut();
    }

    pub(crate) fn cut(&mut self) {
        self.followed = None;
        self.ledger.lost();
        self.knowledge.lost();
    }

    /// A server is gone, and its streams with it.
    pub(crate) fn cut_from(&mut self, server: usize) {
        if self.followed.as_ref().is_some_and(|stream| stream.server == server) {
            self.cut();
        }
        self.opening.take_if(|stream| stream.server == server);
    }

    /// The next message is lost.
    pub(crate) fn lose_one(&mut self) {
        for stream in [&mut self.followed, &mut self.opening].into_iter().flatten() {
            stream.is_torn |= stream.under_way.pop_front().is_some();
        }
    }

    /// Connections lose nothing in silence for ever: one that has lost a message breaks, if no gap has shown it before.
    pub(crate) fn break_torn(&mut self) {
        if self.followed.as_ref().is_some_and(|stream| stream.is_torn) {
            self.cut();
        }
        self.opening.take_if(|stream| stream.is_torn);
    }

    /// The server whose stream it follows.
    pub(crate) fn followed_server(&self) -> Option<usize> {
        self.followed.as_ref().map(|stream| stream.server)
    }

    pub(crate) fn role_name(&self, ip: IpAddr) -> Answer {
        self.ledger.role_name(ip)
    }

    pub(crate) fn credentials(&self, ip: IpAddr, role: &str) -> Answer {
        self.ledger.credentials(ip, role)
    }
}

impl Stream {
    fn send_snapshot(&mut self, server: &Server, node: usize) {
        let words = Arc::new(server.words(node));
        let welcome = Welcome { server_version: "model".into(), features: Vec::new(), node: "model".into() };
        self.post(Message::Welcome(welcome), &words);
        for message in self.clerk.snapshot() {
            self.post(server.send(message), &words);
        }
        self.post(Message::SnapshotEnd(SnapshotEnd {}), &words);
        if let Some(end) = self.under_way.back_mut() {
            (end.is_last, end.completes) = (true, true);
        }
    }

    fn send(&mut self, server: &Server, news: Vec<desk::told::Message>, words: &Arc<Words>) {
        for message in news {
            self.post(server.send(message), words);
        }
        if let Some(last) = self.under_way.back_mut() {
            (last.is_last, last.words) = (true, Arc::clone(words));
        }
    }

    fn post(&mut self, message: Message, words: &Arc<Words>) {
        self.sent += 1;
        let bytes = ServerMessage { sequence: self.sent, message: Some(message) }.encode_to_vec();
        let (words, sent) = (Arc::clone(words), Instant::now());
        self.under_way.push_back(Letter { bytes, words, is_last: false, completes: false, sent });
    }

    fn arrived(&mut self, messages: usize) -> Vec<Letter> {
        self.under_way.drain(..messages.min(self.under_way.len())).collect()
    }

    /// Puts messages into the ledger; says whether the stream is still good.
    fn take(&mut self, ledger: &testing::Node, arrived: &[Letter]) -> bool {
        let decoded = arrived.iter().map(|letter| node::ServerMessage::decode(&*letter.bytes).expect("a message"));
        self.intake.take(ledger, decoded).is_ok()
    }
}

pub(crate) fn addresses() -> [IpAddr; ADDRESSES.len()] {
    ADDRESSES.map(|ip| ip.parse().expect("an address"))
}
