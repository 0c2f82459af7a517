//! HTTP/2 keepalive, told from outside by what crosses an idle connection between agent and server: TLS hides the
//! pings, but nothing else is sent.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use kiam_tests::real::eventually;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

use crate::emulated::Emulated;
use crate::world::wait_until_ready;

const TIME: &str = "--grpc-keepalive-time-duration";
const TIMEOUT: &str = "--grpc-keepalive-timeout-duration";
const WITHOUT_STREAM: &str = "--grpc-keepalive-permit-without-stream";

/// What a network between agent and server sees, and may do.
#[derive(Default)]
struct Wire {
    bytes: AtomicU64,
    swallows_everything: AtomicBool,
    /// How often one side closed its connection.
    closed: AtomicU64,
}

impl Wire {
    /// Listens for agents of the server.
    async fn to(self: &Arc<Self>, server: SocketAddr) -> (SocketAddr, AbortOnDropHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let (addr, wire) = (listener.local_addr().expect("an address"), Arc::clone(self));
        let accepting = tokio::spawn(async move {
            while let Ok((agent, _)) = listener.accept().await {
                tokio::spawn(Arc::clone(&wire).connect(agent, server));
            }
        });
        (addr, AbortOnDropHandle::new(accepting))
    }

    async fn connect(self: Arc<Self>, agent: TcpStream, server: SocketAddr) {
        let server = TcpStream::connect(server).await.expect("the server listens");
        let ((from_agent, to_agent), (from_server, to_server)) = (agent.into_split(), server.into_split());
        tokio::join!(self.carry(from_agent, to_server), self.carry(from_server, to_agent));
    }

    async fn carry(&self, mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            self.bytes.fetch_add(length as u64, Ordering::Relaxed);
            if !self.swallows_everything.load(Ordering::Relaxed) && to.write_all(&buffer[..length]).await.is_err() {
                return;
            }
        }
        self.closed.fetch_add(1, Ordering::Relaxed);
        let _ = to.shutdown().await;
    }

    /// Whether anything crosses an idle connection.
    async fn is_pinged(&self) -> bool {
        // What belongs to the connection's beginning has passed.
        sleep(Duration::from_millis(300)).await;
        let before = self.bytes.load(Ordering::Relaxed);
        sleep(Duration::from_secs(1)).await;
        self.bytes.load(Ordering::Relaxed) > before
    }
}

#[tokio::test]
async fn idle_connections_are_pinged_by_whom_the_flags_say() {
    let around = Emulated::start().await;
    for (name, server_time, agent_time, without_stream, pinged) in [
        ("neither", "1h", "1h", true, false),
        ("agent", "1h", "100ms", true, true),
        ("agent-in-calls-only", "1h", "100ms", false, false),
        ("server", "100ms", "1h", false, true),
    ] {
        let server = around.logs.start(name, &around.server().flag(TIME, server_time)).await;
        let wire = Arc::new(Wire::default());
        let (addr, _accepting) = wire.to(server.addresses().main).await;
        // A stream is a call that never ends.
        let agent = around.agent(addr).flag("--push", false);
        let agent = agent.flag(TIME, agent_time).flag(WITHOUT_STREAM, without_stream);
        let agent = around.logs.start(name, &agent).await;
        wait_until_ready(&agent).await;
        assert_eq!(wire.is_pinged().await, pinged, "{name}");
    }
}

#[tokio::test]
async fn a_connection_whose_pings_are_not_answered_is_given_up_when_the_flag_says() {
    let around = Emulated::start().await;
    for (name, ours, theirs) in [("agent", "100ms", "1h"), ("server", "1h", "100ms")] {
        for (timeout, given_up) in [("100ms", true), ("1h", false)] {
            let server = around.server().flag(TIME, theirs).flag(TIMEOUT, timeout);
            let server = around.logs.start(name, &server).await;
            let wire = Arc::new(Wire::default());
            let (addr, _accepting) = wire.to(server.addresses().main).await;
            let agent = around.agent(addr).flag(TIME, ours).flag(TIMEOUT, timeout).flag(WITHOUT_STREAM, true);
            let agent = around.logs.start(name, &agent).await;
            wait_until_ready(&agent).await;
            wire.swallows_everything.store(true, Ordering::Relaxed);
            let closed = async || (wire.closed.load(Ordering::Relaxed) > 0).then_some(());
            if given_up {
                eventually("the connection to be given up", closed).await;
            } else {
                // Longer than the flag's default.
                sleep(Duration::from_millis(2500)).await;
                assert_eq!(closed().await, None, "{name}");
            }
        }
    }
}
