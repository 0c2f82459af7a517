//! Where the servers are: the one edge to DNS. `endpoints.rs` asks it every few seconds.

use std::io;
use std::net::SocketAddr;

use async_trait::async_trait;
use kiam_common::args::HostPort;

/// Tells every address that the servers have now.
#[async_trait]
pub(crate) trait Resolver: Send + Sync {
    /// All IPv4 and IPv6 addresses, in any order.
    async fn resolve(&self) -> io::Result<Vec<SocketAddr>>;
}

#[async_trait]
impl Resolver for HostPort {
    async fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        Self::resolve(self).await
    }
}

#[cfg(test)]
pub(crate) mod fake {
    use std::sync::Mutex;

    use super::*;

    /// Answers what the test says; no addresses at all is a name that does not resolve.
    #[derive(Default)]
    pub(crate) struct FakeResolver(Mutex<Vec<SocketAddr>>);

    impl FakeResolver {
        pub(crate) fn answer(&self, addresses: &[SocketAddr]) {
            *self.0.lock().unwrap() = addresses.to_vec();
        }
    }

    #[async_trait]
    impl Resolver for FakeResolver {
        async fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
            let addresses = self.0.lock().unwrap().clone();
            if addresses.is_empty() { Err(io::Error::other("no such host")) } else { Ok(addresses) }
        }
    }
}
