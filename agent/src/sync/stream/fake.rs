//! A server's side of the stream in the hands of a test, and a network between the two that can be cut.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::stream::{BoxStream, StreamExt as _, unfold};
use kiam_proto::kiam;
use kiam_proto::node::bind::Decision;
use kiam_proto::node::node_message::Message as Said;
use kiam_proto::node::node_sync_server::NodeSync;
use kiam_proto::node::server_message::Message;
use kiam_proto::node::{
    Bind, BoundRole, Family, GoAway, Grant, Hello, NodeMessage, Pod, ServerMessage, SnapshotEnd, Status as Report,
    Welcome,
};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tonic::{Request, Response, Status, Streaming};

use crate::sync::fake::{Agent, Behaviour, TestServer};

/// The streams of a server, each handed to the test when an agent opens it.
pub(crate) struct Streams {
    opened: mpsc::UnboundedSender<Opened>,
    refusal: Mutex<Option<Status>>,
    attempts: AtomicUsize,
}

/// A server with streams.
pub(crate) struct Supplying {
    pub(crate) server: TestServer,
    pub(crate) streams: Arc<Streams>,
    opened: mpsc::UnboundedReceiver<Opened>,
}

/// A stream that an agent has opened.
pub(crate) struct Opened {
    pub(crate) hello: Hello,
    said: Streaming<NodeMessage>,
    say: mpsc::UnboundedSender<Result<ServerMessage, Status>>,
    sequence: u64,
}

impl Agent {
    /// A server with streams.
    pub(crate) async fn supplying(&self, name: &str) -> Supplying {
        let files = self.pki.issue(name, &["kiam-server"]);
        let (sender, opened) = mpsc::unbounded_channel();
        let streams = Arc::new(Streams { opened: sender, refusal: Mutex::default(), attempts: AtomicUsize::new(0) });
        let address = "127.0.0.1:0".parse().unwrap();
        let server = TestServer::start_with(address, name, &files, Behaviour::Answer, Some(streams.clone())).await;
        Supplying { server, streams, opened }
    }
}

impl Supplying {
    /// The next stream that an agent opens.
    pub(crate) async fn opened(&mut self) -> Opened {
        self.opened.recv().await.unwrap()
    }

    /// Whether no agent has opened another.
    pub(crate) fn is_left_alone(&self) -> bool {
        self.opened.is_empty()
    }
}

impl Streams {
    /// What streams are refused with from now on, if they are.
    pub(crate) fn refuse(&self, status: Option<Status>) {
        *self.refusal.lock().unwrap() = status;
    }

    /// How often an agent has tried to open one.
    pub(crate) fn attempts(&self) -> usize {
        self.attempts.load(Ordering::SeqCst)
    }
}

#[tonic::async_trait]
impl NodeSync for Streams {
    type SyncStream = BoxStream<'static, Result<ServerMessage, Status>>;

    async fn sync(&self, request: Request<Streaming<NodeMessage>>) -> Result<Response<Self::SyncStream>, Status> {
        self.attempts.fetch_add(1, Ordering::SeqCst);
        if let Some(status) = self.refusal.lock().unwrap().clone() {
            return Err(status);
        }
        let mut said = request.into_inner();
        let Some(Said::Hello(hello)) = said.message().await?.and_then(|message| message.message) else {
            return Err(Status::invalid_argument("no hello"));
        };
        let (say, queue) = mpsc::unbounded_channel();
        self.opened.send(Opened { hello, said, say, sequence: 0 }).unwrap();
        Ok(Response::new(unfold(queue, |mut queue| async { Some((queue.recv().await?, queue)) }).boxed()))
    }
}

impl Opened {
    /// Says something, with the next number.
    pub(crate) fn say(&mut self, message: Message) {
        self.sequence += 1;
        self.say.send(Ok(ServerMessage { sequence: self.sequence, message: Some(message) })).unwrap();
    }

    /// Leaves a number out.
    pub(crate) fn skip(&mut self) {
        self.sequence += 1;
    }

    /// Says that a pod has an address and a role, and gives it that role's credentials: its uid.
    pub(crate) fn bind(&mut self, ip: &str, uid: &str) {
        let session = uid.bytes().fold(0, |sum, byte| sum * 256 + u64::from(byte));
        let pod = Pod { uid: uid.into(), namespace: "team".into(), name: uid.into() };
        let role = BoundRole { name: "reader".into(), arn: "arn:aws:iam::123456789012:role/reader".into(), session };
        self.say(Message::Bind(Bind { ip: ip.into(), pod: Some(pod), decision: Some(Decision::Role(role)) }));
        let credentials = kiam::Credentials {
            access_key_id: uid.into(),
            secret_access_key: "wJalrXUtnFEMI".into(),
            token: "FQoGZXIvYXdzE".into(),
            expiration: "2026-11-21T10:00:00Z".into(),
            ..kiam::Credentials::default()
        };
        self.say(Message::Grant(Grant { session, credentials: Some(credentials), life_ms: 3_600_000 }));
    }

    /// Says a whole snapshot.
    pub(crate) fn snapshot(&mut self, pods: &[(&str, &str)]) {
        self.say(Message::Welcome(Welcome::default()));
        for (ip, uid) in pods {
            self.bind(ip, uid);
        }
        self.say(Message::SnapshotEnd(SnapshotEnd {}));
    }

    /// Asks the agent to leave.
    pub(crate) fn send_away(&mut self) {
        self.say(Message::GoAway(GoAway { reason: "the server is stopping".into() }));
    }

    /// The agent's next status.
    pub(crate) async fn status(&mut self) -> Report {
        match self.said.message().await.unwrap().unwrap().message {
            Some(Said::Status(status)) => status,
            other => panic!("{other:?}"),
        }
    }

    /// The agent's series, which it sends for this question.
    pub(crate) async fn series(&mut self, id: u64) -> Vec<Family> {
        let mut families = Vec::new();
        loop {
            match self.said.message().await.unwrap().unwrap().message {
                Some(Said::Metrics(piece)) => {
                    assert_eq!(piece.id, id);
                    families.extend(piece.families);
                    if piece.is_last {
                        return families;
                    }
                }
                Some(Said::Status(_)) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// Waits until the agent has left.
    pub(crate) async fn left(mut self) {
        while let Ok(Some(_)) = self.said.message().await {}
    }
}

/// The network between an agent and a server.
pub(crate) struct Network {
    pub(crate) address: SocketAddr,
    is_silent: watch::Sender<bool>,
}

impl Network {
    pub(crate) async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let is_silent = watch::Sender::new(false);
        let silent = is_silent.subscribe();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(carry(near, server, silent.clone()));
            }
        });
        Self { address, is_silent }
    }

    /// Loses everything from now on, without a word to either side.
    pub(crate) fn fall_silent(&self) {
        self.is_silent.send_replace(true);
    }
}

async fn carry(mut near: TcpStream, server: SocketAddr, mut silent: watch::Receiver<bool>) {
    let mut far = TcpStream::connect(server).await.unwrap();
    // Paused time would run on while the kernel waits for more to send.
    near.set_nodelay(true).unwrap();
    far.set_nodelay(true).unwrap();
    let fell_silent = {
        let carrying = copy_bidirectional(&mut near, &mut far);
        tokio::select! {
            _closed = carrying => false,
            _silent = silent.wait_for(|silent| *silent) => true,
        }
    };
    if fell_silent {
        // Both connections stay open.
        std::future::pending::<()>().await;
    }
}
