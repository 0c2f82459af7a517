//! One call, from its start to the one time that it is handled.

use std::sync::Arc;

use http::HeaderMap;
use prometheus::IntCounter;
use tonic::Code;

use super::export::Method;

/// A call that was started. It is handled when it ends; dropped before, it was cancelled.
#[derive(Debug)]
pub(super) struct Call {
    method: Arc<Method>,
    open: bool,
}

impl Call {
    pub(super) fn start(method: Arc<Method>) -> Self {
        method.started.inc();
        Self { method, open: true }
    }

    /// The counter of the messages of responses.
    pub(super) fn responses(&self) -> &IntCounter {
        &self.method.responses
    }

    /// The same call for another owner; this one is over.
    pub(super) fn hand_over(&mut self) -> Self {
        Self { method: self.method.clone(), open: std::mem::take(&mut self.open) }
    }

    /// The call ends. Only the first end counts.
    pub(super) fn end(&mut self, code: Code) {
        if std::mem::take(&mut self.open) {
            self.method.handled(code);
        }
    }

    /// The call ends if `headers`, or trailers, have its status.
    pub(super) fn end_with(&mut self, headers: &HeaderMap) {
        if let Some(status) = headers.get("grpc-status") {
            self.end(Code::from_bytes(status.as_bytes()));
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.end(Code::Cancelled);
    }
}
