//! Listening where a flag says, with Go's forms of an address.

use std::io;

use tokio::net::TcpListener;

/// Binds `address`: `host:port`, or Go's `:port` for every address of the machine. Port 0 is any free one. An error
/// names `flag`.
pub async fn listen(flag: &str, address: &str) -> io::Result<TcpListener> {
    let bound = match address.strip_prefix(':') {
        // One socket for both families where the machine has IPv6, else IPv4 alone.
        Some(port) => match TcpListener::bind(format!("[::]:{port}")).await {
            Err(error) if error.raw_os_error().is_some() => TcpListener::bind(format!("0.0.0.0:{port}")).await,
            bound => bound,
        },
        None => TcpListener::bind(address).await,
    };
    bound.map_err(|error| io::Error::new(error.kind(), format!("{flag} {address}: cannot listen: {error}")))
}
