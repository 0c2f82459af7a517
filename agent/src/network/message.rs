//! The messages of rtnetlink that matter here, in the terms of this module.

use std::net::IpAddr;

use netlink_packet_core::{NLM_F_REQUEST, NetlinkBuffer, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteType};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

/// What the kernel knows of the way to an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Way {
    /// The index of the interface that it goes out of.
    pub(super) interface: u32,
    /// Whether the route is for this address alone: nobody else is behind the interface.
    pub(super) is_own: bool,
}

/// What changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moved {
    /// Where this address leads, perhaps.
    Address(IpAddr),
    /// Where any address leads, perhaps.
    Anything,
}

/// Asks which route an address takes: the route as it is in the table.
pub(super) fn ask_route(ip: IpAddr) -> Vec<u8> {
    let mut message = RouteMessage::default();
    message.header.address_family = family(ip);
    message.header.destination_prefix_length = bits(ip);
    message.header.flags = RouteFlags::FibMatch;
    message.attributes.push(RouteAttribute::Destination(ip.into()));
    request(RouteNetlinkMessage::GetRoute(message))
}

/// Asks for the neighbour with an address behind an interface.
pub(super) fn ask_neighbour(ip: IpAddr, interface: u32) -> Vec<u8> {
    let mut message = NeighbourMessage::default();
    message.header.family = family(ip);
    message.header.ifindex = interface;
    message.attributes.push(NeighbourAttribute::Destination(match ip {
        IpAddr::V4(v4) => NeighbourAddress::Inet(v4),
        IpAddr::V6(v6) => NeighbourAddress::Inet6(v6),
    }));
    request(RouteNetlinkMessage::GetNeighbour(message))
}

/// The way that the kernel's answer tells of; none if the address is not that of a neighbour.
pub(super) fn way(answer: &[u8], ip: IpAddr) -> Option<Way> {
    let RouteNetlinkMessage::NewRoute(route) = messages(answer).next()?? else { return None };
    let leads_on = |attribute: &RouteAttribute| {
        matches!(attribute, RouteAttribute::Gateway(_) | RouteAttribute::Via(_) | RouteAttribute::MultiPath(_))
    };
    if route.header.kind != RouteType::Unicast || route.attributes.iter().any(leads_on) {
        return None;
    }
    let interface = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Oif(interface) => Some(*interface),
        _ => None,
    })?;
    Some(Way { interface, is_own: route.header.destination_prefix_length == bits(ip) })
}

/// The hardware address that the kernel's answer tells of, if the kernel knows it.
pub(super) fn hardware(answer: &[u8]) -> Option<[u8; 6]> {
    let RouteNetlinkMessage::NewNeighbour(neighbour) = messages(answer).next()?? else { return None };
    if matches!(
        neighbour.header.state,
        NeighbourState::None | NeighbourState::Incomplete | NeighbourState::Failed | NeighbourState::Noarp
    ) {
        return None;
    }
    neighbour.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::LinkLayerAddress(address) => address.as_slice().try_into().ok(),
        _ => None,
    })
}

/// What a datagram of the kernel's reports says. What cannot be understood may concern anything.
pub(super) fn moved(report: &[u8]) -> impl Iterator<Item = Moved> {
    messages(report).filter_map(|message| match message {
        None | Some(RouteNetlinkMessage::DelLink(_)) => Some(Moved::Anything),
        Some(RouteNetlinkMessage::NewRoute(route) | RouteNetlinkMessage::DelRoute(route)) => Some(destination(&route)),
        Some(RouteNetlinkMessage::NewNeighbour(neighbour) | RouteNetlinkMessage::DelNeighbour(neighbour)) => {
            neighbour.attributes.iter().find_map(|attribute| match attribute {
                NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => Some(Moved::Address((*v4).into())),
                NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => Some(Moved::Address((*v6).into())),
                // A bridge's own table has hardware addresses only.
                _ => None,
            })
        }
        Some(_) => None,
    })
}

fn destination(route: &RouteMessage) -> Moved {
    let address = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet(v4)) => Some(IpAddr::from(*v4)),
        RouteAttribute::Destination(RouteAddress::Inet6(v6)) => Some(IpAddr::from(*v6)),
        _ => None,
    });
    match address.filter(|ip| route.header.destination_prefix_length == bits(*ip)) {
        Some(ip) => Moved::Address(ip),
        None => Moved::Anything,
    }
}

/// The messages in a datagram; none for what cannot be understood, and for errors.
fn messages(datagram: &[u8]) -> impl Iterator<Item = Option<RouteNetlinkMessage>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let length = NetlinkBuffer::new_checked(rest).map(|buffer| buffer.length() as usize);
        let Some((message, after)) = length.ok().and_then(|length| rest.split_at_checked(length)) else {
            rest = &[];
            return Some(None);
        };
        // Each begins at a multiple of four bytes.
        rest = after.get(message.len().next_multiple_of(4) - message.len()..).unwrap_or_default();
        Some(match NetlinkMessage::<RouteNetlinkMessage>::deserialize(message).map(|message| message.payload) {
            Ok(NetlinkPayload::InnerMessage(message)) => Some(message),
            _ => None,
        })
    })
}

fn request(message: RouteNetlinkMessage) -> Vec<u8> {
    let mut message = NetlinkMessage::from(message);
    message.header.flags = NLM_F_REQUEST;
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

fn family(ip: IpAddr) -> AddressFamily {
    if ip.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

fn bits(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { 128 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 1, 0, 11));

    fn route(bits: u8, attributes: Vec<RouteAttribute>) -> RouteNetlinkMessage {
        let mut message = RouteMessage::default();
        message.header.address_family = AddressFamily::Inet;
        message.header.destination_prefix_length = bits;
        message.header.kind = RouteType::Unicast;
        message.attributes = attributes;
        RouteNetlinkMessage::NewRoute(message)
    }

    fn neighbour(state: NeighbourState, hardware: &[u8]) -> RouteNetlinkMessage {
        let mut message = NeighbourMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.state = state;
        message.attributes = vec![
            NeighbourAttribute::Destination(NeighbourAddress::Inet(std::net::Ipv4Addr::new(10, 1, 0, 11))),
            NeighbourAttribute::LinkLayerAddress(hardware.to_vec()),
        ];
        RouteNetlinkMessage::NewNeighbour(message)
    }

    #[test]
    fn a_route_for_the_address_alone_is_its_own() {
        let to = |bits| request(route(bits, vec![RouteAttribute::Destination(POD.into()), RouteAttribute::Oif(7)]));
        assert_eq!(way(&to(32), POD), Some(Way { interface: 7, is_own: true }));
        assert_eq!(way(&to(24), POD), Some(Way { interface: 7, is_own: false }));
    }

    #[test]
    fn an_address_that_is_no_neighbours_leads_nowhere() {
        let gateway = RouteAttribute::Gateway(POD.into());
        assert_eq!(way(&request(route(24, vec![gateway, RouteAttribute::Oif(7)])), POD), None);
        assert_eq!(way(&request(route(24, Vec::new())), POD), None);
        assert_eq!(way(&request(neighbour(NeighbourState::Reachable, &[2; 6])), POD), None);
        assert_eq!(way(&[], POD), None);
    }

    #[test]
    fn a_hardware_address_counts_while_the_kernel_holds_it_for_good() {
        let of = |state| hardware(&request(neighbour(state, &[2, 0, 0, 0, 0, 9])));
        for state in
            [NeighbourState::Reachable, NeighbourState::Stale, NeighbourState::Delay, NeighbourState::Permanent]
        {
            assert_eq!(of(state), Some([2, 0, 0, 0, 0, 9]), "{state:?}");
        }
        for state in [NeighbourState::None, NeighbourState::Incomplete, NeighbourState::Failed] {
            assert_eq!(of(state), None, "{state:?}");
        }
        assert_eq!(hardware(&request(neighbour(NeighbourState::Reachable, &[2; 20]))), None, "not of Ethernet");
    }

    #[test]
    fn every_report_in_a_datagram_is_heard() {
        let own = route(32, vec![RouteAttribute::Destination(POD.into()), RouteAttribute::Oif(7)]);
        let wide = route(24, vec![RouteAttribute::Destination(POD.into()), RouteAttribute::Oif(7)]);
        let datagram = [request(neighbour(NeighbourState::Stale, &[2; 6])), request(own), request(wide)].concat();
        let heard: Vec<_> = moved(&datagram).collect();
        assert_eq!(heard, [Moved::Address(POD), Moved::Address(POD), Moved::Anything]);
    }

    #[test]
    fn a_report_that_cannot_be_understood_may_concern_anything() {
        let mut cut = request(neighbour(NeighbourState::Stale, &[2; 6]));
        cut.truncate(cut.len() - 9);
        assert_eq!(moved(&cut).collect::<Vec<_>>(), [Moved::Anything]);
        assert_eq!(moved(&[1, 2, 3]).collect::<Vec<_>>(), [Moved::Anything]);
    }
}
