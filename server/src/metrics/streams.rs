//! What the streams to the nodes count, and the fleet's sizes, read at each scrape.

use std::sync::Arc;

use prometheus::{Error, IntCounterVec, Registry};

use super::{counters, registered, size};
use crate::grpc::fleet::Fleet;
use crate::grpc::node::End;
use crate::grpc::node::wire::Kind;

/// Counts streams and messages.
#[derive(Clone, Debug)]
pub struct StreamMetrics {
    streams: IntCounterVec,
    messages: IntCounterVec,
}

impl StreamMetrics {
    /// Registers the series.
    pub fn new(registry: &Registry) -> Result<Self, Error> {
        let streams = counters("kiam_node_streams_total", "Streams of agents that ended, by how", "end")?;
        let messages = counters("kiam_node_messages_total", "Messages sent to agents", "kind")?;
        let metrics = Self { streams: registered(registry, streams)?, messages: registered(registry, messages)? };
        for end in End::ALL {
            metrics.streams.with_label_values(&[end.as_str()]);
        }
        for kind in Kind::ALL {
            metrics.messages.with_label_values(&[kind.as_str()]);
        }
        Ok(metrics)
    }

    /// Counts a stream that is over.
    pub(crate) fn ended(&self, end: End) {
        self.streams.with_label_values(&[end.as_str()]).inc();
    }

    /// Counts a message.
    pub(crate) fn sent(&self, kind: Kind) {
        self.messages.with_label_values(&[kind.as_str()]).inc();
    }
}

/// The fleet's sizes, read when somebody scrapes.
pub fn fleet(registry: &Registry, fleet: &Arc<Fleet>) -> Result<(), Error> {
    let (nodes, others) = (Arc::clone(fleet), Arc::clone(fleet));
    size(registry, "kiam_nodes_connected", "Nodes whose agents have a stream", move || nodes.nodes())?;
    let help = "Streams of agents whose version is not the server's";
    size(registry, "kiam_nodes_version_mismatch", help, move || others.other_versions())
}
