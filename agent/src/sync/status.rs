//! What a gRPC status says: a refusal of the server's own, or that it could not be reached. Read by `unary` and by
//! `stream`.

use kiam_common::channel::why;
use kiam_common::reason::{Reason, Refusal};
use tonic::Status;

/// Reads a status.
pub(crate) fn refusal(status: &Status) -> Refusal {
    if is_of_transport(status) { unreachable(&why(status)) } else { Refusal::from_status(status) }
}

/// Whether no server sent it: a status of the transport has a source, one that a server sent has none.
pub(crate) fn is_of_transport(status: &Status) -> bool {
    std::error::Error::source(status).is_some()
}

/// No server could be asked in time.
pub(crate) fn unreachable(why: &str) -> Refusal {
    let message = format!("no server could be reached in time: {why}");
    Refusal { reason: Reason::ServerUnreachable, message, aws_code: None }
}
