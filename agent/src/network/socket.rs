//! A netlink socket to the kernel's routing tables. The kernel has answered when sending returns, so nothing here waits.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, send, socket_with};

/// Room for one datagram of the kernel, which keeps within 32 KiB.
const DATAGRAM_MAX: usize = 32 * 1024;

/// A socket, and room for what it receives.
#[derive(Debug)]
pub(super) struct Socket {
    descriptor: OwnedFd,
    buffer: Vec<u8>,
}

impl Socket {
    /// One that hears of what happens in these multicast groups, as bits.
    pub(super) fn open(groups: u32) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        // The protocol that is called none is NETLINK_ROUTE.
        let descriptor = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
        bind(&descriptor, &SocketAddrNetlink::new(0, groups))?;
        Ok(Self { descriptor, buffer: vec![0; DATAGRAM_MAX] })
    }

    /// Sends a request.
    pub(super) fn send(&self, request: &[u8]) -> io::Result<()> {
        send(&self.descriptor, request, SendFlags::empty())?;
        Ok(())
    }

    /// The next datagram, if there is one.
    pub(super) fn receive(&mut self) -> io::Result<Option<&[u8]>> {
        match recv(&self.descriptor, self.buffer.as_mut_slice(), RecvFlags::empty()) {
            Ok((length, _)) => Ok(self.buffer.get(..length)),
            Err(Errno::AGAIN) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}
