//! What writes rules into the kernel, as the keeper sees it: nftables, iptables, or a fake in tests.

use std::io;

use async_trait::async_trait;

/// A kind of rules in the kernel, with the rules of one plan.
#[async_trait]
pub(crate) trait Backend: Send {
    /// Puts the rules there, whatever of them is there already. There is no moment without them if they were there.
    async fn install(&mut self) -> Result<(), Error>;

    /// Takes all of them away; nothing if there are none.
    async fn remove(&mut self) -> Result<(), Error>;

    /// Compares what is there with what should be.
    async fn check(&mut self) -> Result<Found, Error>;

    /// Begins to notice changes.
    async fn watch(&mut self) -> Result<(), Error>;

    /// Waits until something may have changed since `watch`, or since this ended last. May be dropped and called again.
    async fn changed(&mut self) -> Result<(), Error>;
}

/// What is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Every rule and nothing else, with how many packets the rules were for since they were written.
    Whole {
        /// Connections sent to the agent.
        caught: u64,
        /// Packets dropped.
        closed: u64,
    },
    /// Not one.
    Nothing,
    /// Something else; the first difference.
    Different(String),
}

/// Why rules could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused.
    #[error("{step}: the kernel said: {source}{}", advice(source))]
    Kernel {
        /// What it was asked for: which rule, for which interface.
        step: String,
        /// Its answer.
        source: io::Error,
    },
    /// A program of iptables is not there.
    #[error("{program} cannot be started: {source}; --intercept=nftables needs no program")]
    NoProgram {
        /// Its name.
        program: String,
        /// The system's answer.
        source: io::Error,
    },
    /// A program of iptables failed.
    #[error("{program} {said}")]
    Program {
        /// Its name.
        program: String,
        /// How it ended, and the last line that it printed.
        said: String,
    },
    /// Somebody else takes rules away faster than they can be read back, or the kernel shows them in another way.
    #[error("right after the rules were written they were not there: {0}")]
    NotKept(String),
    /// Rules that are right, and in vain.
    #[error("connections are caught and none arrives: does a firewall drop what goes to the agent's port?")]
    NothingArrives,
    /// The thread that keeps the rules ended.
    #[error("the keeper of the rules ended")]
    Ended,
}

impl Error {
    pub(crate) fn kernel(step: &str, source: io::Error) -> Self {
        Self::Kernel { step: step.into(), source }
    }
}

/// What helps against an answer of the kernel.
fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "; the capability NET_ADMIN is needed, or an init container that runs kiam-agent intercept add, and \
             --intercept=none here"
        }
        io::ErrorKind::Unsupported => {
            "; nftables for both IP versions needs Linux 5.2, or else take --intercept=iptables"
        }
        _ => "",
    }
}
