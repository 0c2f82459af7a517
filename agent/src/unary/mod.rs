//! The server as the agent sees it: one call for each request of a pod. `http/imds.rs` calls it.
//!
//! What must always hold: a call ends by its deadline with an answer, a refusal of the server's, or
//! [`Reason::ServerUnreachable`](kiam_common::reason::Reason::ServerUnreachable); it never gives one pod's answer to another.

mod calls;
#[cfg(test)]
pub(crate) mod fake;

use std::net::IpAddr;

use async_trait::async_trait;
use kiam_common::reason::Refusal;
use kiam_proto::kiam;
use tokio::time::Instant;

pub(crate) use calls::Calls;

/// What a server says of a pod.
#[derive(Debug)]
pub(crate) struct Answered<T> {
    /// What it says.
    pub(crate) what: T,
    /// The uid of the pod that it takes the address for; Kiam v4's servers do not say.
    pub(crate) uid: Option<Box<str>>,
}

/// Who decides what a pod may have.
#[async_trait]
pub(crate) trait Server: Send + Sync {
    /// The name of the role that the pod is annotated with; empty if it has none.
    async fn role(&self, pod: IpAddr, deadline: Instant) -> Result<Answered<String>, Refusal>;

    /// Credentials of `role`, if the pod may have it.
    async fn credentials(
        &self,
        pod: IpAddr,
        role: &str,
        deadline: Instant,
    ) -> Result<Answered<kiam::Credentials>, Refusal>;

    /// What the server says of its own health: `ok`, or what is wrong.
    async fn health(&self, deadline: Instant) -> Result<String, Refusal>;
}

#[cfg(test)]
mod tests;
