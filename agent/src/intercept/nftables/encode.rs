//! A rule as the kernel's nftables executes it: a list of expressions over registers. The numbers are those of the
//! kernel's `linux/netfilter/nf_tables.h`; `nft list table inet kiam` shows the same rules in its own language.

use std::net::{IpAddr, SocketAddr};

use crate::intercept::interface::Pattern;
use crate::intercept::rule::{METADATA_PORT, Rule};
use crate::netlink::Attributes;

/// Where verdicts go, and where values wait for what comes next.
const VERDICT: u32 = 0;
const REGISTER: u32 = 1;
const SECOND_REGISTER: u32 = 2;

/// What `meta` loads.
const INTERFACE_NAME: u32 = 6;
const FAMILY: u32 = 15;
const PROTOCOL: u32 = 16;

/// Where `payload` loads from.
const NETWORK_HEADER: u32 = 1;
const TRANSPORT_HEADER: u32 = 2;

const TCP: u8 = 6;
pub(super) const IPV4: u8 = 2;
pub(super) const IPV6: u8 = 10;

/// Verdicts.
const DROP: u32 = 0;
const RETURN: u32 = 5_u32.wrapping_neg();

/// The longest interface name with its end.
const NAME_LENGTH: usize = 16;

/// Attributes of a rule's data.
const VALUE: u16 = 1;
const VERDICT_DATA: u16 = 2;
const LIST_ELEMENT: u16 = 1;

/// The expressions of a rule.
pub(super) fn expressions(rule: &Rule) -> Attributes {
    let mut list = Attributes::default();
    for (name, data) in rule_parts(rule) {
        list = list.nested(LIST_ELEMENT, &Attributes::default().text(1, name).nested(2, &data));
    }
    list
}

type Expression = (&'static str, Attributes);

fn rule_parts(rule: &Rule) -> Vec<Expression> {
    let mut parts = Vec::new();
    if let Some(interface) = rule.from() {
        parts.extend([meta(INTERFACE_NAME), equals(&name(interface))]);
    }
    if let Some(to) = rule.to() {
        parts.extend(destination(to));
    }
    if let Rule::Catch { .. } = rule {
        parts.extend([meta(PROTOCOL), equals(&[TCP])]);
        parts.extend([payload(TRANSPORT_HEADER, 2, 2), equals(&METADATA_PORT.to_be_bytes())]);
    }
    match rule {
        Rule::Pass { .. } => parts.push(verdict(RETURN)),
        Rule::Catch { agent, .. } => {
            parts.push(counter());
            parts.extend(new_destination(*agent));
        }
        Rule::Close { .. } => parts.extend([counter(), verdict(DROP)]),
    }
    parts
}

/// A prefix is compared as far as it goes, a name to its end.
fn name(interface: &Pattern) -> Vec<u8> {
    match interface {
        Pattern::Prefix(prefix) => prefix.as_bytes().to_vec(),
        Pattern::Exactly(name) => {
            let mut bytes = name.as_bytes().to_vec();
            bytes.resize(NAME_LENGTH, 0);
            bytes
        }
    }
}

fn destination(to: IpAddr) -> [Expression; 4] {
    let (family, offset) = match to {
        IpAddr::V4(_) => (IPV4, 16),
        IpAddr::V6(_) => (IPV6, 24),
    };
    let address = octets(to);
    let length = if to.is_ipv4() { 4 } else { 16 };
    [meta(FAMILY), equals(&[family]), payload(NETWORK_HEADER, offset, length), equals(&address)]
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

fn meta(key: u32) -> Expression {
    ("meta", Attributes::default().number(2, key).number(1, REGISTER))
}

fn payload(base: u32, offset: u32, length: u32) -> Expression {
    ("payload", Attributes::default().number(1, REGISTER).number(2, base).number(3, offset).number(4, length))
}

fn equals(value: &[u8]) -> Expression {
    let data = Attributes::default().bytes(VALUE, value);
    ("cmp", Attributes::default().number(1, REGISTER).number(2, 0).nested(3, &data))
}

fn counter() -> Expression {
    ("counter", Attributes::default())
}

fn verdict(code: u32) -> Expression {
    let data = Attributes::default().nested(VERDICT_DATA, &Attributes::default().number(1, code));
    ("immediate", Attributes::default().number(1, VERDICT).nested(2, &data))
}

fn load(register: u32, value: &[u8]) -> Expression {
    let data = Attributes::default().bytes(VALUE, value);
    ("immediate", Attributes::default().number(1, register).nested(2, &data))
}

fn new_destination(agent: SocketAddr) -> [Expression; 3] {
    const DNAT: u32 = 1;
    let family = if agent.is_ipv4() { IPV4 } else { IPV6 };
    let nat =
        Attributes::default().number(1, DNAT).number(2, family.into()).number(3, REGISTER).number(5, SECOND_REGISTER);
    [load(REGISTER, &octets(agent.ip())), load(SECOND_REGISTER, &agent.port().to_be_bytes()), ("nat", nat)]
}
