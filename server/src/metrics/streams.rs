//! What the streams to the nodes count.

use kiam_common::registry::Registry;
use prometheus::{Error, IntCounterVec};

use super::{counters, registered};
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
