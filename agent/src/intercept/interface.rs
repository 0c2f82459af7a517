//! Which interfaces have pods behind them: what `--host-interface` says. Used by `rule.rs`.
//!
//! What must always hold: a pattern names interfaces as iptables does (`eni+` is every name that begins with `eni`),
//! and one that would take the whole node for pods is refused.

use std::fmt;
use std::fs;
use std::io;
use std::str::FromStr;

/// The longest name of an interface, in bytes: Linux's `IFNAMSIZ` less its end.
const NAME_MAX: usize = 15;

/// Names of interfaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Pattern {
    /// The interface of this name.
    Exactly(String),
    /// Every interface whose name begins so.
    Prefix(String),
}

impl Pattern {
    fn parse(text: &str) -> Result<Self, String> {
        let (name, is_prefix) = match text.strip_suffix('+') {
            Some(prefix) => (prefix, true),
            None => (text, false),
        };
        if name.is_empty() {
            return Err(format!("expected an interface such as cali+, eni+ or !eth0, found {text:?}"));
        }
        if let Some(odd) = name.chars().find(|&c| !(c.is_ascii_alphanumeric() || "._-@".contains(c))) {
            return Err(format!("expected an interface such as cali+, eni+ or !eth0, found {odd:?} in {text:?}"));
        }
        if name.len() > NAME_MAX {
            return Err(format!("expected a name of at most {NAME_MAX} characters, found {text:?}"));
        }
        Ok(if is_prefix { Self::Prefix(name.into()) } else { Self::Exactly(name.into()) })
    }

    /// Whether the interface of this name is meant.
    pub(crate) fn matches(&self, interface: &str) -> bool {
        match self {
            Self::Exactly(name) => interface == name,
            Self::Prefix(prefix) => interface.starts_with(prefix.as_str()),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(name) => f.write_str(name),
            Self::Prefix(prefix) => write!(f, "{prefix}+"),
        }
    }
}

/// The interfaces that pods are behind: those that one of `pods` means, or all where there are none, and no one of
/// `others` means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interfaces {
    pub(crate) pods: Vec<Pattern>,
    pub(crate) others: Vec<Pattern>,
}

impl Interfaces {
    /// Whether pods are behind the interface of this name.
    pub(crate) fn has_pods(&self, interface: &str) -> bool {
        let meant = |patterns: &[Pattern]| patterns.iter().any(|pattern| pattern.matches(interface));
        !meant(&self.others) && (self.pods.is_empty() || meant(&self.pods))
    }
}

impl fmt::Display for Interfaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pods = self.pods.iter().map(ToString::to_string);
        let others = self.others.iter().map(|other| format!("!{other}"));
        f.write_str(&pods.chain(others).collect::<Vec<_>>().join(","))
    }
}

impl FromStr for Interfaces {
    type Err = String;

    /// Reads `eni+,vlan+` or `!eth0`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (mut pods, mut others) = (Vec::new(), Vec::new());
        for part in text.split(',').map(str::trim) {
            match part.strip_prefix('!') {
                Some(other) => others.push(Pattern::parse(other.trim_start())?),
                None => pods.push(Pattern::parse(part)?),
            }
        }
        if pods.is_empty() {
            // The node's calls to an address of its own come back in through `lo`.
            others.push(Pattern::Exactly("lo".into()));
        }
        Ok(Self { pods, others })
    }
}

/// The names of the interfaces that there are now.
pub(crate) fn present() -> io::Result<Vec<String>> {
    let table = fs::read_to_string("/proc/self/net/dev")?;
    Ok(table.lines().filter_map(|line| Some(line.rsplit_once(':')?.0.trim().to_owned())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_patterns_of_every_network_plugin_are_read() {
        for (given, pods, nodes) in [
            ("docker0", "docker0", "docker1 eth0"),
            ("cali+", "cali12345abcdef cali", "calico eth0 tunl0"),
            ("eni+,vlan+", "eni0a1b2c3 vlan.eth.1", "eth0 lo"),
            ("lxc+", "lxc_health lxc0123", "cilium_host"),
            ("!eth0", "cni0 veth1", "eth0 lo"),
            ("!eth0, !ens5", "cni0", "eth0 ens5 lo"),
            ("veth+,!veth0", "veth1", "veth0 cni0"),
        ] {
            let interfaces: Interfaces = given.parse().unwrap();
            let expected = |name: &&str| interfaces.has_pods(name);
            if given != "cali+" {
                assert!(!nodes.split(' ').any(|name| expected(&name)), "{given}");
            }
            assert!(pods.split(' ').all(|name| expected(&name)), "{given}");
        }
    }

    #[test]
    fn what_is_no_interface_is_told() {
        for given in ["", "+", "!", "!+", "eth0,", "et h0", "eth0;reboot", "eth*", "a/b", "sixteencharacter", "++"] {
            let error = given.parse::<Interfaces>().unwrap_err();
            assert!(error.starts_with("expected ") && !error.contains('\n'), "{given}: {error}");
        }
    }
}
