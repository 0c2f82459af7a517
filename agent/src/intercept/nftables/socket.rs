//! The netlink socket to the kernel's netfilter. What is sent is done when sending returns, so nothing here waits but
//! `Changes`, which is told of what others do.

use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, send, socket_with};
use tokio::io::unix::AsyncFd;

use super::message::Received;
use crate::intercept::backend::Error;

/// Room for one datagram of the kernel, which keeps within 32 KiB.
const DATAGRAM_MAX: usize = 64 * 1024;
/// The multicast group that is told of changes of nftables, as a bit.
const CHANGES_OF_NFTABLES: u32 = 1 << (7 - 1);

/// Kinds of messages that every netlink socket has.
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// The flag of a list that changed while it was read.
const INTERRUPTED: u16 = 0x10;

/// What is said to have failed when changes cannot be heard of.
const LISTENING: &str = "listening for changes of the rules";

fn open(groups: u32) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, Some(netlink::NETFILTER))?;
    bind(&socket, &SocketAddrNetlink::new(0, groups))?;
    Ok(socket)
}

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
    let socket = open(0)?;
    send(&socket, messages, SendFlags::empty())?;
    let mut refused = None;
    read(&socket, |message| {
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
    let socket = open(0)?;
    send(&socket, question, SendFlags::empty())?;
    read(&socket, |message| {
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
fn read(socket: &OwnedFd, mut each: impl FnMut(Received<'_>) -> io::Result<bool>) -> io::Result<()> {
    let mut buffer = vec![0; DATAGRAM_MAX];
    loop {
        let length = match recv(socket, buffer.as_mut_slice(), RecvFlags::empty()) {
            Ok((length, _)) => length,
            Err(Errno::AGAIN) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        for message in Received::all(buffer.get(..length).unwrap_or_default()) {
            if each(message)? {
                return Ok(());
            }
        }
    }
}

/// The kernel's reports of changes in nftables, whoever makes them.
#[derive(Debug)]
pub(crate) struct Changes(AsyncFd<OwnedFd>);

impl Changes {
    /// Listens from now on.
    #[expect(deprecated, reason = "sound for a descriptor that we own; what replaces it takes unsafe code")]
    pub(crate) fn open() -> Result<Self, Error> {
        open(CHANGES_OF_NFTABLES).and_then(AsyncFd::new).map(Self).map_err(|error| Error::kernel(LISTENING, error))
    }

    /// Waits for a change that `concerns` us, or one that the kernel had no room to report.
    pub(crate) async fn next(&self, concerns: impl Fn(&Change<'_>) -> bool) -> Result<(), Error> {
        let failed = |error| Error::kernel(LISTENING, error);
        loop {
            let mut ready = self.0.readable().await.map_err(failed)?;
            let mut concerned = false;
            let read = read(self.0.get_ref(), |message| {
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

/// A table, chain or rule that came or went.
#[derive(Debug)]
pub(crate) struct Change<'a>(Received<'a>);

impl<'a> Change<'a> {
    /// The table that it is, or is in: the first attribute of all three.
    pub(crate) fn table(&self) -> Option<&'a str> {
        self.0.attributes().text(1)
    }

    /// The chain that it is, or is in; none if it is a table or something else.
    pub(crate) fn chain(&self) -> Option<&'a str> {
        match self.0.kind {
            super::NEW_CHAIN..super::NEW_RULE => self.0.attributes().text(super::CHAIN_NAME),
            super::NEW_RULE..=super::DELETE_RULE => self.0.attributes().text(super::RULE_CHAIN),
            _ => None,
        }
    }
}
