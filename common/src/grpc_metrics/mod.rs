//! The gRPC metrics of both sides, `grpc_server_…` and `grpc_client_…`: calls started and handled, messages received
//! and sent. One tower layer for tonic's server and for client channels.
//!
//! What always holds: a call that was started is handled exactly once, with the code that the peer saw or would have
//! seen, and `Canceled` if it was dropped before its end. Labels come from the service descriptors; calls of anything
//! else are counted as `unknown`.

mod body;
mod call;
mod export;
mod frames;
mod handling;
mod service;

use std::sync::Arc;

use tower::Layer;

use crate::registry::Registry;

pub use body::ResponseBody;
pub use service::{CountedCall, CountedService};

use crate::tls::Side;
use export::Methods;

/// The metrics of one side of a program's gRPC. Clones are the same metrics.
#[derive(Clone, Debug)]
pub struct GrpcMetrics {
    methods: Arc<Methods>,
}

impl GrpcMetrics {
    /// Registers `grpc_server_…`, its counters at zero for every method in `descriptors`, which are encoded
    /// `google.protobuf.FileDescriptorSet`s.
    pub fn server(registry: &Registry, descriptors: &[&[u8]]) -> Result<Self, prometheus::Error> {
        handling::register(registry)?;
        Methods::register(registry, Side::Server, descriptors).map(|methods| Self { methods: Arc::new(methods) })
    }

    /// Registers `grpc_client_…`, likewise.
    pub fn client(registry: &Registry, descriptors: &[&[u8]]) -> Result<Self, prometheus::Error> {
        Methods::register(registry, Side::Client, descriptors).map(|methods| Self { methods: Arc::new(methods) })
    }

    /// The layer that counts, for `Server::builder().layer(…)` or around a client's channel.
    pub fn layer(&self) -> GrpcMetricsLayer {
        GrpcMetricsLayer { methods: self.methods.clone() }
    }
}

/// Counts the calls that pass through it.
#[derive(Clone, Debug)]
pub struct GrpcMetricsLayer {
    methods: Arc<Methods>,
}

impl<S> Layer<S> for GrpcMetricsLayer {
    type Service = CountedService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        CountedService::new(inner, self.methods.clone())
    }
}

#[cfg(test)]
mod tests;
