//! Node binding: which node an agent is of, by `--node-binding`, and so whose pods it may ask for.
//!
//! ```text
//! grpc: what an agent shows ─► NodeBinding::caller ─► Caller ─► NodeBinding::permit ◄─ issue: the pod's node
//!                                   │                               └────────────── ◄─ grpc: the stream's node
//!                                   └─ tokens ─► what is remembered, or a TokenReview
//! ```
//!
//! What must always hold: what an agent says of itself binds it to nothing; where it cannot be found out which node an
//! agent is of, it gets nothing.

#[cfg(feature = "testing")]
pub mod fake;
pub mod kubernetes;
pub mod review;
#[cfg(test)]
mod tests;
pub mod tokens;
pub mod unbound;

use std::net::IpAddr;
use std::sync::Arc;

use kiam_common::reason::Reason;

use crate::directory::Directory;
use crate::metrics::BindingMetrics;
use crate::policy::node::{self, Caller};
use tokens::Tokens;
use unbound::Unbound;

/// Why an agent gets nothing of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum BindingError {
    /// It shows no token.
    #[error("the agent sends no service account token: expected an agent with --server-token-file")]
    NoToken,
    /// The Kubernetes API says that its token is forged, expired, revoked, or made for somebody else.
    #[error("the agent's service account token is not accepted")]
    TokenRefused,
    /// Its token is good and says nothing of a node.
    #[error("the agent's service account token is of no node: expected that of a pod, by Kubernetes 1.30 or newer")]
    NotOfNode,
    /// Nobody can tell whether its token is good.
    #[error("the Kubernetes API does not say whether the agent's service account token is good")]
    Unreviewed,
    /// Its connection has no address.
    #[error("the agent's address is not known")]
    NoAddress,
    /// It is of another node.
    #[error("the agent is of another node")]
    WrongNode,
}

impl BindingError {
    /// Every error, for metrics that show each from the start.
    pub const ALL: [Self; 6] =
        [Self::NoToken, Self::TokenRefused, Self::NotOfNode, Self::Unreviewed, Self::NoAddress, Self::WrongNode];

    /// The name in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoToken => "no_token",
            Self::TokenRefused => "token_refused",
            Self::NotOfNode => "not_of_node",
            Self::Unreviewed => "unreviewed",
            Self::NoAddress => "no_address",
            Self::WrongNode => "wrong_node",
        }
    }

    /// The reason that agents and pods see.
    pub const fn reason(self) -> Reason {
        match self {
            Self::NoToken | Self::TokenRefused | Self::NotOfNode | Self::NoAddress => Reason::AgentRefused,
            // Asking again, or another server, may help.
            Self::Unreviewed => Reason::ServerNotReady,
            Self::WrongNode => Reason::WrongNode,
        }
    }
}

/// What an agent shows of itself with a call.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// Its service account token. A secret.
    pub token: Option<Token<'a>>,
    /// The address that its connection comes from.
    pub address: Option<IpAddr>,
    /// Its `user-agent`.
    pub program: &'a str,
}

/// A bearer token, which is never shown.
#[derive(Clone, Copy)]
pub struct Token<'a>(pub &'a str);

impl std::fmt::Debug for Token<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("<redacted>")
    }
}

/// How agents are bound to their nodes.
#[derive(Debug)]
pub enum Mode {
    /// Not at all.
    Off(Unbound),
    /// By the address that they connect from.
    PeerIp,
    /// By their service account tokens.
    Token(Tokens),
}

/// Binds agents to their nodes.
#[derive(Debug)]
pub struct NodeBinding {
    mode: Mode,
    directory: Arc<Directory>,
    metrics: BindingMetrics,
}

impl NodeBinding {
    /// Binds in this way.
    pub fn new(mode: Mode, directory: Arc<Directory>, metrics: BindingMetrics) -> Self {
        Self { mode, directory, metrics }
    }

    /// The way, as the fleet view names it.
    pub fn name(&self) -> &'static str {
        match self.mode {
            Mode::Off(_) => "off",
            Mode::PeerIp => "peer-ip",
            Mode::Token(_) => "token",
        }
    }

    /// Which node an agent is of.
    pub async fn caller(&self, evidence: Evidence<'_>) -> Result<Caller, BindingError> {
        let caller = match &self.mode {
            Mode::Off(unbound) => {
                unbound.note(evidence);
                Ok(Caller::Unbound)
            }
            Mode::PeerIp => {
                let address = evidence.address.ok_or(BindingError::NoAddress);
                address.map(|address| Caller::Address(address.to_canonical()))
            }
            Mode::Token(tokens) => match evidence.token {
                Some(token) => tokens.node_of(token).await.map(Caller::Node),
                None => Err(BindingError::NoToken),
            },
        };
        caller.inspect_err(|error| self.refused(*error, evidence))
    }

    /// Whether an agent may have what is of a node.
    pub fn permit(&self, caller: &Caller, node: Option<&str>) -> Result<(), BindingError> {
        if self.covers(caller, node) {
            return Ok(());
        }
        self.metrics.refused(BindingError::WrongNode);
        Err(BindingError::WrongNode)
    }

    /// The same for what an agent is only shown if so: it is no refusal.
    pub fn covers(&self, caller: &Caller, node: Option<&str>) -> bool {
        node::permits(caller, node, |node, address| self.directory.node_has(node, address))
    }

    /// Takes an agent at its word that it is of `node`, if it is.
    pub async fn admit(&self, evidence: Evidence<'_>, node: &str) -> Result<(), BindingError> {
        let caller = self.caller(evidence).await?;
        self.permit(&caller, Some(node)).inspect_err(|error| {
            let address = evidence.address.map(tracing::field::display);
            tracing::warn!(address, %caller, node, reason = error.as_str(), "agent refused: {error}");
        })
    }

    fn refused(&self, error: BindingError, evidence: Evidence<'_>) {
        self.metrics.refused(error);
        let address = evidence.address.map(tracing::field::display);
        tracing::warn!(address, program = evidence.program, reason = error.as_str(), "agent refused: {error}");
    }
}
