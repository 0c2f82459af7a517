//! Asks the kernel where an address leads.

use std::io;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use super::message::{Way, ask_neighbour, ask_route, hardware, way};
use crate::ledger::{EndpointId, Network};
use crate::netlink::Socket;

/// The kernel's routes and neighbours.
#[derive(Debug)]
pub(crate) struct Kernel {
    socket: Mutex<Socket>,
}

impl Kernel {
    /// Takes no rights.
    pub(crate) fn open() -> io::Result<Self> {
        Ok(Self { socket: Mutex::new(Socket::open(None, 0)?) })
    }
}

impl Network for Kernel {
    /// Pods behind one interface can be told apart by their hardware addresses only; whose the kernel does not know
    /// leads nowhere that can be pinned.
    fn endpoint_of(&self, ip: IpAddr) -> Option<EndpointId> {
        let mut socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        let Way { interface, is_own } = way(answer(&mut socket, &ask_route(ip))?, ip)?;
        let hardware = answer(&mut socket, &ask_neighbour(ip, interface)).and_then(hardware);
        (is_own || hardware.is_some()).then_some(EndpointId { interface, hardware })
    }
}

/// What the kernel answers to a question; none if nothing, which fails closed: the address leads nowhere.
fn answer<'s>(socket: &'s mut Socket, question: &[u8]) -> Option<&'s [u8]> {
    // Nothing that an earlier question has left behind.
    while socket.receive().ok()?.is_some() {}
    match socket.send(question) {
        Ok(()) => socket.receive().ok().flatten(),
        Err(error) => {
            tracing::warn!(%error, "cannot ask the kernel where an address leads");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn the_nodes_own_addresses_lead_to_no_pod() {
        let kernel = Kernel::open().unwrap();
        assert_eq!(kernel.endpoint_of(Ipv4Addr::LOCALHOST.into()), None);
        assert_eq!(kernel.endpoint_of("::1".parse().unwrap()), None);
    }
}
