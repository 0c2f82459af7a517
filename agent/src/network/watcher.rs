//! Tells the ledger when the kernel reports that an address may lead elsewhere.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

use kiam_common::shutdown::Shutdown;
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;

use super::message::{Moved, moved};
use crate::ledger::Ledger;
use crate::netlink::{Socket, group};

/// The multicast groups for links, neighbours, and routes of IPv4 and IPv6.
const GROUPS: u32 = group(1) | group(3) | group(7) | group(11);

/// What the kernel reports, from when this is opened.
pub(crate) struct Reports {
    socket: Mutex<Socket>,
    /// The same socket, to wait for.
    readable: AsyncFd<OwnedFd>,
}

impl Reports {
    /// Takes no rights.
    pub(crate) fn open() -> io::Result<Self> {
        let socket = Socket::open(None, GROUPS)?;
        Ok(Self { readable: socket.readable()?, socket: Mutex::new(socket) })
    }
}

/// Acts upon the reports on behalf of a ledger.
pub(crate) struct Watcher {
    reports: Reports,
    ledger: Arc<Ledger>,
}

impl Watcher {
    /// Keeps the pins of this ledger true.
    pub(crate) fn new(reports: Reports, ledger: Arc<Ledger>) -> Self {
        Self { reports, ledger }
    }

    /// Hears until shutdown.
    pub(crate) async fn watch(self: Arc<Self>, shutdown: Shutdown) {
        let watching = async {
            loop {
                let mut ready = self.reports.readable.readable().await?;
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
        // Held while a report is read *and* acted upon, so that nobody gets past a report that another has taken.
        let mut socket = self.reports.socket.lock().unwrap_or_else(PoisonError::into_inner);
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
