//! What the rules say, whatever writes them: a list in words that `nftables` and `iptables` translate. Each rule's
//! words are also its comment in the kernel, by which it is known again.
//!
//! What must always hold: everything that comes from a pod to a metadata address is either sent to the agent or
//! dropped. Nothing the node itself sends is touched.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use super::interface::{Interfaces, Pattern};

/// The instance metadata service.
const METADATA: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)), IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254))];
/// Where SDKs look for container credentials.
const CONTAINER_CREDENTIALS: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(169, 254, 170, 23)), IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23))];
/// The port of both.
pub(crate) const METADATA_PORT: u16 = 80;

/// Whether this is one of the addresses that requests are caught from.
pub(crate) fn is_metadata(address: IpAddr) -> bool {
    METADATA.contains(&address) || CONTAINER_CREDENTIALS.contains(&address)
}

/// The node's addresses that the agent answers on: one of each IP version at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hosts {
    v4: Option<Ipv4Addr>,
    v6: Option<Ipv6Addr>,
}

impl Hosts {
    /// Each address.
    pub(crate) fn addresses(self) -> impl Iterator<Item = IpAddr> {
        self.v4.map(IpAddr::from).into_iter().chain(self.v6.map(IpAddr::from))
    }

    /// Whether there is none.
    pub(crate) fn is_empty(self) -> bool {
        self.addresses().next().is_none()
    }

    /// The address of the other's IP version.
    fn beside(self, other: IpAddr) -> Option<IpAddr> {
        self.addresses().find(|host| host.is_ipv4() == other.is_ipv4())
    }
}

impl FromStr for Hosts {
    type Err = String;

    /// Reads `10.0.0.1` or `10.0.0.1,fd00::1`, which is how Kubernetes writes a node's addresses; nothing is none.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut hosts = Self::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let address = part.parse().map_err(|_| format!("expected the node's IP address, found {part:?}"))?;
            let free = match address {
                IpAddr::V4(v4) if usable(address) => hosts.v4.replace(v4).is_none(),
                IpAddr::V6(v6) if usable(address) => hosts.v6.replace(v6).is_none(),
                _ => return Err(format!("expected an address of the node that pods can reach, found {part}")),
            };
            if !free {
                return Err(format!("expected one address of each IP version, found {text}"));
            }
        }
        Ok(hosts)
    }
}

/// Whether packets of pods can be sent to this address of the node.
fn usable(address: IpAddr) -> bool {
    let link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    !(address.is_loopback() || address.is_unspecified() || address.is_multicast() || link_local)
}

/// One rule. Where no interface is named, it is about packets from anywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// What comes in here is none of ours.
    Pass { from: Pattern },
    /// Requests to this address go to the agent, and keep the pod's address as their source.
    Catch { from: Option<Pattern>, to: IpAddr, agent: SocketAddr },
    /// All that is sent to this address is dropped.
    Close { from: Option<Pattern>, to: IpAddr },
}

impl Rule {
    /// The interface that it is about.
    pub(crate) fn from(&self) -> Option<&Pattern> {
        match self {
            Self::Pass { from } => Some(from),
            Self::Catch { from, .. } | Self::Close { from, .. } => from.as_ref(),
        }
    }

    /// The address that it is about.
    pub(crate) fn to(&self) -> Option<IpAddr> {
        match self {
            Self::Pass { .. } => None,
            Self::Catch { to, .. } | Self::Close { to, .. } => Some(*to),
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.from() {
            Some(from) => write!(f, "kiam: from {from}")?,
            None => f.write_str("kiam: from anywhere")?,
        }
        match self {
            Self::Pass { .. } => f.write_str(": no pod"),
            Self::Catch { to, agent, .. } => write!(f, " to {to} port {METADATA_PORT}: to {agent}"),
            Self::Close { to, .. } => write!(f, " to {to}: closed"),
        }
    }
}

/// All that the rules are made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The interfaces with pods behind them.
    pub interfaces: Interfaces,
    /// The agent's addresses.
    pub hosts: Hosts,
    /// The agent's port.
    pub port: u16,
    /// Whether the addresses of container credentials are the agent's as well.
    pub container_credentials: bool,
}

impl Plan {
    /// The rules that send pods' requests to the agent, in order. They are asked about the first packet of each
    /// connection.
    pub(crate) fn catching(&self) -> Vec<Rule> {
        self.rules(|from, to| {
            let agent = SocketAddr::new(self.hosts.beside(to)?, self.port);
            Some(Rule::Catch { from: from.cloned(), to, agent })
        })
    }

    /// The rules that drop what the others did not catch, in order. They are asked about every packet.
    pub(crate) fn closing(&self) -> Vec<Rule> {
        self.rules(|from, to| Some(Rule::Close { from: from.cloned(), to }))
    }

    /// A rule, where there is one, for each interface with pods and each address; and before those, the interfaces that
    /// have none.
    fn rules(&self, rule: impl Fn(Option<&Pattern>, IpAddr) -> Option<Rule>) -> Vec<Rule> {
        let mut rules: Vec<Rule> =
            self.interfaces.others.iter().map(|other| Rule::Pass { from: other.clone() }).collect();
        let anywhere = self.interfaces.pods.is_empty().then_some(None);
        for from in self.interfaces.pods.iter().map(Some).chain(anywhere) {
            rules.extend(self.addresses().filter_map(|to| rule(from, to)));
        }
        rules
    }

    fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        METADATA.into_iter().chain(CONTAINER_CREDENTIALS.into_iter().filter(|_| self.container_credentials))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn plan(interfaces: &str, hosts: &str) -> Plan {
        Plan {
            interfaces: interfaces.parse().unwrap(),
            hosts: hosts.parse().unwrap(),
            port: 3100,
            container_credentials: true,
        }
    }

    fn words(rules: &[Rule]) -> Vec<String> {
        rules.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_interface_and_address_has_a_rule_to_catch_and_one_to_close() {
        let plan = plan("eni+,vlan1", "10.0.0.1,fd00::1");
        assert_eq!(
            words(&plan.catching()),
            [
                "kiam: from eni+ to 169.254.169.254 port 80: to 10.0.0.1:3100",
                "kiam: from eni+ to fd00:ec2::254 port 80: to [fd00::1]:3100",
                "kiam: from eni+ to 169.254.170.23 port 80: to 10.0.0.1:3100",
                "kiam: from eni+ to fd00:ec2::23 port 80: to [fd00::1]:3100",
                "kiam: from vlan1 to 169.254.169.254 port 80: to 10.0.0.1:3100",
                "kiam: from vlan1 to fd00:ec2::254 port 80: to [fd00::1]:3100",
                "kiam: from vlan1 to 169.254.170.23 port 80: to 10.0.0.1:3100",
                "kiam: from vlan1 to fd00:ec2::23 port 80: to [fd00::1]:3100",
            ]
        );
        assert_eq!(plan.closing().len(), 8);
        assert_eq!(words(&plan.closing())[1], "kiam: from eni+ to fd00:ec2::254: closed");
    }

    #[test]
    fn what_is_no_pod_passes_before_anything_is_caught_or_closed() {
        let mut plan = plan("!eth0", "10.0.0.1");
        plan.container_credentials = false;
        let passed = ["kiam: from eth0: no pod", "kiam: from lo: no pod"];
        assert_eq!(words(&plan.catching())[..2], passed);
        assert_eq!(words(&plan.catching())[2..], ["kiam: from anywhere to 169.254.169.254 port 80: to 10.0.0.1:3100"]);
        assert_eq!(words(&plan.closing())[..2], passed);
        assert_eq!(plan.closing().len(), 4);
    }

    #[test]
    fn an_ip_version_without_an_address_of_the_node_is_closed_and_not_caught() {
        let plan = plan("cali+", "10.0.0.1");
        let about_v6 = |rules: Vec<Rule>| rules.iter().filter(|rule| rule.to().is_some_and(|to| to.is_ipv6())).count();
        assert_eq!((about_v6(plan.catching()), about_v6(plan.closing())), (0, 2));
    }

    #[test]
    fn the_words_fit_into_a_comment_of_nftables() {
        let longest = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff".parse().unwrap();
        let rule = Rule::Catch {
            from: Some("a234567890abcd+".parse::<Interfaces>().unwrap().pods.remove(0)),
            to: METADATA[1],
            agent: SocketAddr::new(longest, u16::MAX),
        };
        assert!(rule.to_string().len() < 128, "{rule}");
    }

    #[test]
    fn hosts_are_addresses_of_the_node_one_of_each_version() {
        assert_eq!("".parse(), Ok(Hosts::default()));
        assert_eq!(" fd00::1, 10.0.0.1 ".parse::<Hosts>().unwrap().addresses().count(), 2);
        for (given, named) in [
            ("node-1", "node-1"),
            ("10.0.0.1,10.0.0.2", "one address of each"),
            ("127.0.0.1", "127.0.0.1"),
            ("0.0.0.0", "0.0.0.0"),
            ("169.254.169.254", "169.254.169.254"),
            ("fe80::1", "fe80::1"),
            ("::", "::"),
            ("10.0.0.1:3100", "10.0.0.1:3100"),
        ] {
            let error = given.parse::<Hosts>().unwrap_err();
            assert!(error.starts_with("expected ") && error.contains(named), "{given}: {error}");
        }
    }
}
