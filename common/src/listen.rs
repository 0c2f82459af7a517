//! Listening where a flag says, and taking connections so that neither their number nor a failing listener is the
//! end of the program. Used for every TCP listener.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;

use crate::rarely::Rarely;

/// The pause after accepting failed, as it does when the process has no descriptors left: it would fail at once again.
const PAUSE: Duration = Duration::from_millis(50);
/// How often that is told of.
const COMPLAIN_EVERY: Duration = Duration::from_mins(1);

/// Binds `address` as Go does: `host:port`, where of a host's addresses IPv4 comes first, or `:port` for every address
/// of the machine. Port 0 is any free one. An error names `flag`.
pub async fn listen(flag: &str, address: &str) -> io::Result<TcpListener> {
    let bound = match address.strip_prefix(':') {
        Some(port) => bind_everywhere(port).await,
        None => bind(address).await,
    };
    bound.map_err(|error| {
        let told = format!("{flag} {address}: cannot listen: {error}; expected host:port, an address of this machine");
        io::Error::new(error.kind(), told)
    })
}

async fn bind(address: &str) -> io::Result<TcpListener> {
    let mut addresses: Vec<SocketAddr> = lookup_host(address).await?.collect();
    addresses.sort_by_key(SocketAddr::is_ipv6);
    TcpListener::bind(addresses.as_slice()).await
}

/// One socket for both families; IPv4 alone on a machine without IPv6.
async fn bind_everywhere(port: &str) -> io::Result<TcpListener> {
    match TcpListener::bind(format!("[::]:{port}")).await {
        Err(error) if !matches!(error.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied) => {
            TcpListener::bind(format!("0.0.0.0:{port}")).await
        }
        bound => bound,
    }
}

/// A listener whose failures are waited out, and told of once a minute.
#[derive(Debug)]
pub struct PatientListener {
    listener: TcpListener,
    complaint: Rarely,
}

impl PatientListener {
    /// Takes connections of `listener`.
    pub fn new(listener: TcpListener) -> Self {
        Self { listener, complaint: Rarely::every(COMPLAIN_EVERY) }
    }

    /// The next connection.
    pub async fn accept(&self) -> (TcpStream, SocketAddr) {
        persist(&self.complaint, || self.listener.accept()).await
    }
}

/// A listener with room for so many connections at a time; the rest wait in the kernel's queue.
#[derive(Debug)]
pub struct BoundedListener {
    listener: PatientListener,
    places: Arc<Semaphore>,
}

/// The place of one connection: free again when this is dropped.
#[derive(Debug)]
pub struct Place {
    _permit: Option<OwnedSemaphorePermit>,
}

impl BoundedListener {
    /// Takes at most `places` connections of `listener` at a time.
    pub fn new(listener: TcpListener, places: usize) -> Self {
        Self { listener: PatientListener::new(listener), places: Arc::new(Semaphore::new(places)) }
    }

    /// The next connection, as soon as there is a place.
    pub async fn accept(&self) -> (TcpStream, SocketAddr, Place) {
        // Nobody closes the semaphore, so there always is a permit.
        let place = Place { _permit: self.places.clone().acquire_owned().await.ok() };
        let (tcp, peer) = self.listener.accept().await;
        (tcp, peer, place)
    }
}

/// What `accept` gives once it does not fail.
async fn persist<T, F: Future<Output = io::Result<T>>>(complaint: &Rarely, mut accept: impl FnMut() -> F) -> T {
    loop {
        match accept().await {
            Ok(accepted) => return accepted,
            Err(error) => {
                if complaint.is_due() {
                    tracing::warn!("cannot accept a connection: {error}");
                }
                sleep(PAUSE).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use futures_util::FutureExt as _;
    use tokio::time::Instant;

    use super::*;
    use crate::testing::CapturedLog;

    #[tokio::test(start_paused = true)]
    async fn a_failing_listener_is_waited_for_without_spinning_and_told_of_once() {
        let (log, start, complaint) = (CapturedLog::start(), Instant::now(), Rarely::every(COMPLAIN_EVERY));
        let mut attempts = 0;
        let accepted = persist(&complaint, || {
            attempts += 1;
            ready(if attempts < 4 { Err(io::Error::other("no descriptors")) } else { Ok(attempts) })
        });
        assert_eq!(accepted.await, 4);
        assert_eq!(start.elapsed(), PAUSE * 3);
        assert_eq!(log.text().matches("no descriptors").count(), 1);
    }

    #[tokio::test]
    async fn a_connection_waits_for_a_place() {
        let listener = listen("--bind", "127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let listener = BoundedListener::new(listener, 1);
        let _clients = [TcpStream::connect(address).await.unwrap(), TcpStream::connect(address).await.unwrap()];
        let (_first, _, place) = listener.accept().await;
        assert!(listener.accept().now_or_never().is_none());
        drop(place);
        listener.accept().await;
    }

    #[tokio::test]
    async fn of_a_name_ipv4_comes_first() {
        let listener = listen("--bind", "localhost:0").await.unwrap();
        assert_eq!(listener.local_addr().unwrap().ip().to_string(), "127.0.0.1");
    }

    #[tokio::test]
    async fn a_port_alone_is_every_address() {
        let listener = listen("--bind", ":0").await.unwrap();
        assert!(listener.local_addr().unwrap().ip().is_unspecified());
    }

    #[tokio::test]
    async fn an_error_names_the_flag_and_the_address() {
        let taken = listen("--bind", "127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let _taken = listen("--bind", &taken.to_string()).await.unwrap();
        for address in [taken.to_string().as_str(), "nonsense", "127.0.0.1:99999", ":99999"] {
            let error = listen("--bind", address).await.unwrap_err().to_string();
            assert!(error.starts_with(&format!("--bind {address}: cannot listen: ")), "{error}");
        }
    }
}
