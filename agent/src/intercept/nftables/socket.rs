//! What is said over a netlink socket to the kernel's netfilter: changes of the rules, questions about them, and what
//! others do with theirs.

use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::netlink::NETFILTER;
use tokio::io::unix::AsyncFd;

use crate::intercept::backend::Error;
use crate::netlink::{Read, Received, Socket, group};

/// Is told of changes of nftables.
const CHANGES: u32 = group(7);

/// Kinds of messages that every netlink socket has.
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// The flag of a list that changed while it was read.
const INTERRUPTED: u16 = 0x10;

/// What the kernel said to one message of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    /// The message's number.
    pub(super) sequence: u32,
    /// The kernel's error.
    pub(super) error: Errno,
}

/// Sends messages in one datagram; the kernel has done them, or refused one, when this returns.
pub(super) fn request(messages: &[u8]) -> io::Result<Result<(), Refused>> {
    let mut socket = Socket::open(Some(NETFILTER), 0)?;
    socket.send(messages)?;
    let mut refused = None;
    read(&mut socket, |message| {
        if refused.is_none() && message.kind == ERROR {
            refused = message.error().filter(|error| *error != 0).map(|error| (message.sequence, error));
        }
        Ok(false)
    })?;
    Ok(match refused {
        Some((sequence, error)) => Err(Refused { sequence, error: Errno::from_raw_os_error(-error) }),
        None => Ok(()),
    })
}

/// Sends a question and hands over what the kernel answers.
pub(super) fn ask(question: &[u8], mut answered: impl FnMut(Received<'_>)) -> io::Result<()> {
    let mut socket = Socket::open(Some(NETFILTER), 0)?;
    socket.send(question)?;
    read(&mut socket, |message| {
        if message.flags & INTERRUPTED != 0 {
            return Err(Errno::INTR.into());
        }
        match (message.kind, message.error()) {
            (DONE, _) => return Ok(true),
            (ERROR, Some(0)) => {}
            (ERROR, Some(error)) => return Err(io::Error::from_raw_os_error(-error)),
            _ => answered(message),
        }
        Ok(false)
    })
}

/// Reads all that is there, or until `each` says that it was the last.
fn read(socket: &mut Socket, mut each: impl FnMut(Received<'_>) -> io::Result<bool>) -> io::Result<()> {
    while let Some(datagram) = socket.receive()? {
        for message in Received::all(datagram).flatten() {
            if each(message)? {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// The attributes after netfilter's own head.
pub(super) fn attributes(message: Received<'_>) -> Read<'_> {
    message.split::<{ super::HEAD }>().map(|(_, attributes)| attributes).unwrap_or_default()
}

/// The kernel's reports of changes in nftables, whoever makes them.
#[derive(Debug)]
pub(crate) struct Changes {
    socket: Socket,
    readable: AsyncFd<OwnedFd>,
}

impl Changes {
    /// Listens from now on.
    pub(crate) fn open() -> Result<Self, Error> {
        let socket = Socket::open(Some(NETFILTER), CHANGES).map_err(failed)?;
        Ok(Self { readable: socket.readable().map_err(failed)?, socket })
    }

    /// Waits for a change that `concerns` us, or one that the kernel had no room to report.
    pub(crate) async fn next(&mut self, concerns: impl Fn(&Change<'_>) -> bool) -> Result<(), Error> {
        loop {
            let mut ready = self.readable.readable().await.map_err(failed)?;
            let mut concerned = false;
            let read = read(&mut self.socket, |message| {
                concerned |= concerns(&Change(message));
                Ok(false)
            });
            match read {
                Ok(()) => ready.clear_ready(),
                Err(error) if error.raw_os_error() == Some(Errno::NOBUFS.raw_os_error()) => concerned = true,
                Err(error) => return Err(failed(error)),
            }
            if concerned {
                return Ok(());
            }
        }
    }
}

fn failed(error: io::Error) -> Error {
    Error::kernel("listening for changes of the rules", error)
}

/// A table, chain or rule that came or went.
#[derive(Debug)]
pub(crate) struct Change<'a>(Received<'a>);

impl<'a> Change<'a> {
    /// The table that it is, or is in: the first attribute of all three.
    pub(crate) fn table(&self) -> Option<&'a str> {
        attributes(self.0).text(1)
    }

    /// The chain that it is, or is in; none if it is a table or something else.
    pub(crate) fn chain(&self) -> Option<&'a str> {
        match self.0.kind {
            super::NEW_CHAIN..super::NEW_RULE => attributes(self.0).text(super::CHAIN_NAME),
            super::NEW_RULE..=super::DELETE_RULE => attributes(self.0).text(super::RULE_CHAIN),
            _ => None,
        }
    }
}
