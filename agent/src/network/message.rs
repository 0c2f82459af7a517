//! The messages of rtnetlink that matter here, in the terms of this module. The numbers are those of the kernel's
//! `linux/rtnetlink.h` and `linux/neighbour.h`.

use std::net::{IpAddr, Ipv6Addr};

use crate::netlink::{self, Attributes, Read, Received};

/// Kinds of messages. Below the first are those of netlink itself, errors among them.
const FIRST_OF_RTNETLINK: u16 = 16;
const LINK_IS_GONE: u16 = 17;
const NEW_ROUTE: u16 = 24;
const ROUTE_IS_GONE: u16 = 25;
const GET_ROUTE: u16 = 26;
const NEW_NEIGHBOUR: u16 = 28;
const NEIGHBOUR_IS_GONE: u16 = 29;
const GET_NEIGHBOUR: u16 = 30;
/// The flag of questions.
const REQUEST: u16 = 1;

/// The heads of messages: of routes, eight numbers of one byte and 32 flags; of neighbours, the interface at 4 and the
/// state at 8. Both begin with the address family.
type RouteHead = [u8; 12];
type NeighbourHead = [u8; 12];
/// Places in the head of a route.
const PREFIX_LENGTH: usize = 1;
const ROUTE_KIND: usize = 7;
/// Packets are delivered to the address, by the interface.
const UNICAST: u8 = 1;
/// Asks for the route as it is in the table.
const FIB_MATCH: u32 = 0x2000;

/// Address families.
const IPV4: u8 = 2;
const IPV6: u8 = 10;
/// Of a bridge's own table, which has hardware addresses only.
const BRIDGE: u8 = 7;

/// Attributes of routes.
const DESTINATION: u16 = 1;
const INTERFACE: u16 = 4;
const GATEWAY: u16 = 5;
const MULTIPATH: u16 = 9;
const VIA: u16 = 18;
/// Attributes of neighbours, whose first is the destination, too.
const HARDWARE: u16 = 2;

/// The states of a neighbour that the kernel knows: reachable, stale, delay, probe, permanent.
const KNOWN: u16 = 0x02 | 0x04 | 0x08 | 0x10 | 0x80;

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

/// Asks which route an address takes.
pub(super) fn ask_route(ip: IpAddr) -> Vec<u8> {
    let [a, b, c, d] = FIB_MATCH.to_ne_bytes();
    let head: RouteHead = [family(ip), bits(ip), 0, 0, 0, 0, 0, 0, a, b, c, d];
    netlink::message(GET_ROUTE, REQUEST, 0, &head, &to(ip))
}

/// Asks for the neighbour with an address behind an interface.
pub(super) fn ask_neighbour(ip: IpAddr, interface: u32) -> Vec<u8> {
    let [a, b, c, d] = interface.to_ne_bytes();
    let head: NeighbourHead = [family(ip), 0, 0, 0, a, b, c, d, 0, 0, 0, 0];
    netlink::message(GET_NEIGHBOUR, REQUEST, 0, &head, &to(ip))
}

/// The way that the kernel's answer tells of; none if the address is not that of a neighbour.
pub(super) fn way(answer: &[u8], ip: IpAddr) -> Option<Way> {
    let (head, attributes): (&RouteHead, _) = first(answer, NEW_ROUTE)?.split()?;
    let leads_on = attributes.all().any(|(kind, _)| matches!(kind, GATEWAY | VIA | MULTIPATH));
    if head[ROUTE_KIND] != UNICAST || leads_on {
        return None;
    }
    let interface = u32::from_ne_bytes(attributes.bytes(INTERFACE)?.try_into().ok()?);
    Some(Way { interface, is_own: head[PREFIX_LENGTH] == bits(ip) })
}

/// The hardware address that the kernel's answer tells of, if the kernel knows it.
pub(super) fn hardware(answer: &[u8]) -> Option<[u8; 6]> {
    let (head, attributes): (&NeighbourHead, _) = first(answer, NEW_NEIGHBOUR)?.split()?;
    let [.., low, high, _, _] = *head;
    let is_known = u16::from_ne_bytes([low, high]) & KNOWN != 0;
    attributes.bytes(HARDWARE).filter(|_| is_known)?.try_into().ok()
}

/// What a datagram of the kernel's reports says. What cannot be understood may concern anything.
pub(super) fn moved(report: &[u8]) -> impl Iterator<Item = Moved> {
    Received::all(report).filter_map(|message| {
        let Some(message) = message else { return Some(Moved::Anything) };
        match message.kind {
            LINK_IS_GONE => Some(Moved::Anything),
            own if own < FIRST_OF_RTNETLINK => Some(Moved::Anything),
            NEW_ROUTE | ROUTE_IS_GONE => Some(destination(message).unwrap_or(Moved::Anything)),
            NEW_NEIGHBOUR | NEIGHBOUR_IS_GONE => neighbour(message),
            _ => None,
        }
    })
}

/// Where a route leads, if it is to one address.
fn destination(message: Received<'_>) -> Option<Moved> {
    let (head, attributes): (&RouteHead, _) = message.split()?;
    address(attributes).filter(|ip| head[PREFIX_LENGTH] == bits(*ip)).map(Moved::Address)
}

fn neighbour(message: Received<'_>) -> Option<Moved> {
    match message.split::<{ size_of::<NeighbourHead>() }>() {
        Some(([BRIDGE, ..], _)) => None,
        Some((_, attributes)) => Some(address(attributes).map_or(Moved::Anything, Moved::Address)),
        None => Some(Moved::Anything),
    }
}

fn address(attributes: Read<'_>) -> Option<IpAddr> {
    let bytes = attributes.bytes(DESTINATION)?;
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| bytes.try_into().map(|v6: [u8; 16]| Ipv6Addr::from(v6).into())).ok()
}

/// The first message of an answer, if it is of the kind that was asked for: an error is not.
fn first(answer: &[u8], kind: u16) -> Option<Received<'_>> {
    Received::all(answer).next()?.filter(|message| message.kind == kind)
}

fn to(ip: IpAddr) -> Attributes {
    match ip {
        IpAddr::V4(v4) => Attributes::default().bytes(DESTINATION, &v4.octets()),
        IpAddr::V6(v6) => Attributes::default().bytes(DESTINATION, &v6.octets()),
    }
}

fn family(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { IPV4 } else { IPV6 }
}

fn bits(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { 128 }
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
    use netlink_packet_route::link::LinkMessage;
    use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState};
    use netlink_packet_route::route::{RouteAttribute, RouteFlags, RouteMessage, RouteType};
    use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

    use super::*;

    const POD: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 1, 0, 11));

    /// As a library that nobody here wrote has it.
    fn request(message: RouteNetlinkMessage) -> Vec<u8> {
        let mut message = NetlinkMessage::from(message);
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        bytes
    }

    fn read(bytes: &[u8]) -> RouteNetlinkMessage {
        let NetlinkPayload::InnerMessage(message) = NetlinkMessage::deserialize(bytes).unwrap().payload else {
            panic!("no message of rtnetlink");
        };
        message
    }

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
    fn questions_are_what_the_kernel_expects() {
        for ip in [POD, "fd00::11".parse().unwrap()] {
            let family = if ip.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
            let RouteNetlinkMessage::GetRoute(route) = read(&ask_route(ip)) else { panic!("no GetRoute") };
            assert_eq!((route.header.address_family, route.header.flags), (family, RouteFlags::FibMatch));
            assert_eq!(route.header.destination_prefix_length, bits(ip));
            assert_eq!(route.attributes, [RouteAttribute::Destination(ip.into())]);
            let RouteNetlinkMessage::GetNeighbour(neighbour) = read(&ask_neighbour(ip, 0x0102_0304)) else {
                panic!("no GetNeighbour")
            };
            assert_eq!((neighbour.header.family, neighbour.header.ifindex), (family, 0x0102_0304));
            let to = match ip {
                IpAddr::V4(v4) => NeighbourAddress::Inet(v4),
                IpAddr::V6(v6) => NeighbourAddress::Inet6(v6),
            };
            assert_eq!(neighbour.attributes, [NeighbourAttribute::Destination(to)]);
        }
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
    fn a_report_tells_of_addresses_of_both_versions_and_of_links_that_go() {
        let mut of_v6 = NeighbourMessage::default();
        of_v6.header.family = AddressFamily::Inet6;
        let address = NeighbourAddress::Inet6("fd00::11".parse().unwrap());
        of_v6.attributes = vec![NeighbourAttribute::Destination(address)];
        let mut of_bridge = NeighbourMessage::default();
        of_bridge.header.family = AddressFamily::Bridge;
        of_bridge.attributes = vec![NeighbourAttribute::LinkLayerAddress(vec![2; 6])];
        let datagram = [
            request(RouteNetlinkMessage::DelNeighbour(of_v6)),
            request(RouteNetlinkMessage::NewNeighbour(of_bridge)),
            request(RouteNetlinkMessage::NewLink(LinkMessage::default())),
            request(RouteNetlinkMessage::DelLink(LinkMessage::default())),
        ]
        .concat();
        let heard: Vec<_> = moved(&datagram).collect();
        assert_eq!(heard, [Moved::Address("fd00::11".parse().unwrap()), Moved::Anything]);
    }

    #[test]
    fn a_report_that_cannot_be_understood_may_concern_anything() {
        let mut cut = request(neighbour(NeighbourState::Stale, &[2; 6]));
        cut.truncate(cut.len() - 9);
        assert_eq!(moved(&cut).collect::<Vec<_>>(), [Moved::Anything]);
        assert_eq!(moved(&[1, 2, 3]).collect::<Vec<_>>(), [Moved::Anything]);
    }
}
