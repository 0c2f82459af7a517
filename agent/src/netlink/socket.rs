//! A netlink socket. What is sent is done, and answered, when sending returns, so nothing here waits.

use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, send, socket_with,
};
use tokio::io::unix::AsyncFd;

/// Room for one datagram of the kernel, which keeps within 32 KiB.
const DATAGRAM_MAX: usize = 32 * 1024;

/// The multicast group with this number, as a bit.
pub(crate) const fn group(number: u32) -> u32 {
    1 << (number - 1)
}

/// A socket, and room for what it receives.
#[derive(Debug)]
pub(crate) struct Socket {
    descriptor: OwnedFd,
    buffer: Vec<u8>,
}

impl Socket {
    /// One to a subsystem of the kernel, none being its routing, that hears of what happens in these multicast groups.
    pub(crate) fn open(subsystem: Option<Protocol>, groups: u32) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let descriptor = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, subsystem)?;
        bind(&descriptor, &SocketAddrNetlink::new(0, groups))?;
        Ok(Self { descriptor, buffer: vec![0; DATAGRAM_MAX] })
    }

    /// Sends a request.
    pub(crate) fn send(&self, request: &[u8]) -> io::Result<()> {
        send(&self.descriptor, request, SendFlags::empty())?;
        Ok(())
    }

    /// The next datagram, if there is one.
    pub(crate) fn receive(&mut self) -> io::Result<Option<&[u8]>> {
        match recv(&self.descriptor, self.buffer.as_mut_slice(), RecvFlags::empty()) {
            Ok((length, _)) => Ok(self.buffer.get(..length)),
            Err(Errno::AGAIN) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The same socket, to wait for.
    #[expect(deprecated, reason = "sound for a descriptor that we own; what replaces it takes unsafe code")]
    pub(crate) fn readable(&self) -> io::Result<AsyncFd<OwnedFd>> {
        AsyncFd::new(self.descriptor.try_clone()?)
    }
}
