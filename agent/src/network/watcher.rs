//! Tells the ledger when the kernel reports that an address may lead elsewhere.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use kiam_common::shutdown::Shutdown;
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;

use super::message::{Moved, moved};
use super::socket::Socket;
use crate::ledger::Ledger;

/// The multicast groups for links, neighbours, and routes of IPv4 and IPv6, as bits.
const GROUPS: u32 = 1 << (1 - 1) | 1 << (3 - 1) | 1 << (7 - 1) | 1 << (11 - 1);

/// Hears what the kernel reports, on behalf of a ledger.
pub(crate) struct Watcher {
    /// The same socket, to wait for.
    readable: AsyncFd<OwnedFd>,
    /// Held while a report is read *and* acted upon, so that nobody gets past a report that another has taken.
    socket: Mutex<Socket>,
    ledger: Arc<Ledger>,
}

impl Watcher {
    /// Hears everything from now on. Takes no rights.
    #[expect(deprecated, reason = "sound for a descriptor that we own; what replaces it takes unsafe code")]
    pub(crate) fn open(ledger: Arc<Ledger>) -> io::Result<Self> {
        let socket = Socket::open(GROUPS)?;
        let readable = AsyncFd::new(socket.as_fd().try_clone_to_owned()?)?;
        Ok(Self { readable, socket: Mutex::new(socket), ledger })
    }

    /// Hears until shutdown.
    pub(crate) async fn watch(self: Arc<Self>, shutdown: Shutdown) {
        let watching = async {
            loop {
                let mut ready = self.readable.readable().await?;
                self.settle();
                ready.clear_ready();
            }
        };
        let failed: Result<(), io::Error> = tokio::select! {
            failed = watching => failed,
            () = shutdown.begun() => return,
        };
        if let Err(error) = failed {
            tracing::error!(%error, "cannot hear of changes of the network");
        }
    }

    /// Acts upon everything that the kernel has reported so far. Never waits.
    pub(crate) fn settle(&self) {
        let mut socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match socket.receive() {
                Ok(Some(report)) => moved(report).for_each(|moved| self.examine(moved)),
                Ok(None) => return,
                // The kernel had no room for all of its reports.
                Err(error) if error.raw_os_error() == Some(Errno::NOBUFS.raw_os_error()) => {
                    self.examine(Moved::Anything);
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot read what the kernel reports of the network");
                    self.examine(Moved::Anything);
                    return;
                }
            }
        }
    }

    fn examine(&self, moved: Moved) {
        match moved {
            Moved::Address(ip) => self.ledger.examine(ip),
            Moved::Anything => self.ledger.examine_all(),
        }
    }
}
