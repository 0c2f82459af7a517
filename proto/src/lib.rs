//! The gRPC messages and services that agents and servers speak, generated from the `.proto` files beside this
//! crate, and their descriptors.

mod encoded;

use std::fmt;

pub use encoded::EncodedCredentials;

/// Package `kiam`: Kiam v4's unary calls.
pub mod kiam {
    #![expect(missing_docs, clippy::pedantic, reason = "generated; the .proto files carry the documentation")]
    tonic::include_proto!("kiam");

    // Nested as the packages are, because generated code refers to other packages by `super`.
    pub mod node {
        pub mod v1 {
            tonic::include_proto!("kiam.node.v1");
        }
    }
}

/// The services for servers, which answer [`EncodedCredentials`] and ask each other.
pub mod encoding {
    #![expect(missing_docs, clippy::pedantic, reason = "generated; the .proto files carry the documentation")]
    include!(concat!(env!("OUT_DIR"), "/encoding/unary/kiam.rs"));

    /// Package `kiam.node.v1`.
    pub mod node {
        include!(concat!(env!("OUT_DIR"), "/encoding/stream/kiam.node.v1.rs"));
    }
}

/// Package `kiam.node.v1`: how servers supply nodes.
pub use kiam::node::v1 as node;

/// The response header of `kiam.KiamService` with the uid of the pod that the answer is for: an agent that knows better
/// than a server whose the address is can tell. Not of Kiam's, whose agents ignore it and whose servers do not send it.
pub const POD_UID: &str = "kiam-pod-uid";

/// The feature of `Hello` and `Welcome` by which servers ask agents for their series.
pub const METRICS_FEATURE: &str = "metrics";

/// Every file descriptor of this crate, encoded as a `google.protobuf.FileDescriptorSet`: what server reflection
/// shows, and what bounds the labels of the gRPC metrics.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

impl fmt::Debug for kiam::Credentials {
    /// Shows what may be shown: the secret access key and the session token never are.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("code", &self.code)
            .field("access_key_id", &self.access_key_id)
            .field("expiration", &self.expiration)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for node::ReviewRequest {
    /// Shows no token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReviewRequest").field("path", &self.path).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::kiam::Credentials;
    use super::node::ReviewRequest;

    #[test]
    fn who_wants_to_read_metrics_never_shows_a_token() {
        let request = ReviewRequest { token: "eyJhbGciOi".into(), path: "/metrics".into() };
        let shown = format!("{request:?}");
        assert!(shown.contains("/metrics") && !shown.contains("eyJ"), "{shown}");
    }

    #[test]
    fn credentials_never_show_their_secrets() {
        let credentials = Credentials {
            secret_access_key: "wJalrXUtnFEMI".into(),
            token: "FQoGZXIvYXdzE".into(),
            ..Credentials::default()
        };
        let shown = format!("{credentials:?}");
        assert!(!shown.contains("wJalrXUtnFEMI") && !shown.contains("FQoGZXIvYXdzE"), "{shown}");
    }
}
