//! The pod network, for one pod: whatever connects to the relay reaches the agent from the pod's address. An SDK that
//! is given nothing but the relay as its metadata endpoint looks to the agent like a process in that pod.

use std::io;
use std::net::{IpAddr, SocketAddr};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

/// A running relay; dropping it closes its port and its connections.
#[derive(Debug)]
pub struct Relay {
    addr: SocketAddr,
    _accepting: AbortOnDropHandle<()>,
}

impl Relay {
    /// Relays from any free port of 127.0.0.1 to `agent`, from the address `pod` of 127.0.0.0/8.
    pub async fn start(pod: IpAddr, agent: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let addr = listener.local_addr()?;
        Ok(Self { addr, _accepting: AbortOnDropHandle::new(tokio::spawn(accept(listener, pod, agent))) })
    }

    /// Where it listens: `http://` and this go into `AWS_EC2_METADATA_SERVICE_ENDPOINT`.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}

async fn accept(listener: TcpListener, pod: IpAddr, agent: SocketAddr) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((near, _)) = accepted {
                    connections.spawn(relay(near, pod, agent));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Fails like the network does: by closing the connection.
async fn relay(mut near: TcpStream, pod: IpAddr, agent: SocketAddr) -> io::Result<()> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(pod, 0))?;
    let mut far = socket.connect(agent).await?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    copy_bidirectional(&mut near, &mut far).await?;
    Ok(())
}
