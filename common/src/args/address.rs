//! Where the server is: a name or an address, and a port.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::str::FromStr;

use rustls_pki_types::ServerName;

/// A host and a port as `--server-address` gives them: `kiam-server:443`, `10.0.0.1:443`, `[fd00::1]:443`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// The name or address, an IPv6 address without its brackets: what the server's certificate must be for.
    pub host: String,
    /// The TCP port.
    pub port: u16,
}

impl HostPort {
    /// Every address the host has now, IPv4 and IPv6; an address stands for itself.
    pub async fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        Ok(tokio::net::lookup_host((self.host.as_str(), self.port)).await?.collect())
    }
}

impl FromStr for HostPort {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "expected host:port, such as kiam-server:443 or [fd00::1]:443".to_owned();
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let host = match host.strip_prefix('[') {
            Some(bracketed) => bracketed.strip_suffix(']').filter(|host| host.contains(':')).ok_or_else(wrong)?,
            None if host.contains(':') => return Err(wrong()),
            None => host,
        };
        let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(wrong)?;
        ServerName::try_from(host).map_err(|_| wrong())?;
        Ok(Self { host: host.into(), port })
    }
}

/// A name or an address that a server's certificate may be for.
pub fn parse_server_name(text: &str) -> Result<String, String> {
    let wrong = |_| "expected a DNS name or an IP address, such as kiam-server.kube-system.svc".to_owned();
    ServerName::try_from(text).map(|_| text.to_owned()).map_err(wrong)
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_are_read_and_written_back() {
        for (text, host, port) in [
            ("localhost:9610", "localhost", 9610),
            ("kiam-server.kube-system.svc.cluster.local:443", "kiam-server.kube-system.svc.cluster.local", 443),
            ("10.1.2.3:443", "10.1.2.3", 443),
            ("[fd00::1]:443", "fd00::1", 443),
        ] {
            let parsed: HostPort = text.parse().unwrap();
            assert_eq!((parsed.host.as_str(), parsed.port), (host, port));
            assert_eq!(parsed.to_string(), text);
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in
            ["", "host", ":443", "host:", "host:0", "host:70000", "fd00::1:443", "[fd00::1]", "[host]:1", "a b:1"]
        {
            assert!(text.parse::<HostPort>().is_err(), "{text:?}");
        }
    }

    #[tokio::test]
    async fn an_address_stands_for_itself() {
        let address: HostPort = "[::1]:443".parse().unwrap();
        assert_eq!(address.resolve().await.unwrap(), ["[::1]:443".parse().unwrap()]);
    }
}
