//! Which files an identity is made of, and what it is for.

use std::path::PathBuf;

use crate::args::{MetricsFiles, TlsArgs};

/// What an identity is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// gRPC, in both directions: mutual TLS, always.
    Grpc,
    /// The status listener: clients may show a certificate, and the pages say which of them must.
    Status,
}

/// The files of an identity.
#[derive(Clone, Debug)]
pub struct Files {
    purpose: Purpose,
    pub(super) cert: PathBuf,
    pub(super) key: PathBuf,
    pub(super) ca: Option<PathBuf>,
}

impl From<&TlsArgs> for Files {
    fn from(args: &TlsArgs) -> Self {
        let TlsArgs { cert, key, ca } = args.clone();
        Self { purpose: Purpose::Grpc, cert, key, ca: Some(ca) }
    }
}

impl From<&MetricsFiles> for Files {
    /// Without a file of authorities no client is asked for a certificate.
    fn from(files: &MetricsFiles) -> Self {
        let MetricsFiles { cert, key, client_ca } = files.clone();
        Self { purpose: Purpose::Status, cert, key, ca: client_ca }
    }
}

impl Files {
    /// Whether clients are asked for a certificate.
    pub(super) fn asks_clients(&self) -> bool {
        self.ca.is_some()
    }

    /// Whether a client without a certificate is let in all the same.
    pub(super) fn lets_strangers_in(&self) -> bool {
        self.purpose == Purpose::Status
    }

    /// The protocol that TLS agrees on (ALPN).
    pub(super) fn protocol(&self) -> &'static [u8] {
        match self.purpose {
            Purpose::Grpc => b"h2",
            Purpose::Status => b"http/1.1",
        }
    }

    pub(super) fn cert_flag(&self) -> &'static str {
        match self.purpose {
            Purpose::Grpc => "--cert",
            Purpose::Status => "--metrics-tls-cert",
        }
    }

    pub(super) fn key_flag(&self) -> &'static str {
        match self.purpose {
            Purpose::Grpc => "--key",
            Purpose::Status => "--metrics-tls-key",
        }
    }

    pub(super) fn ca_flag(&self) -> &'static str {
        match self.purpose {
            Purpose::Grpc => "--ca",
            Purpose::Status => "--metrics-client-ca",
        }
    }
}
