//! The rules in iptables' own language: what is given to `iptables-restore`, and what `iptables-save` prints. One IP
//! version at a time.
//!
//! Requests are caught where addresses are translated; what was not caught is dropped in the table `mangle`, which
//! packets pass after that, on their way in and on their way through, before anybody's `filter` could accept them.

use std::fmt::Write as _;
use std::net::IpAddr;

use crate::intercept::check::{Seen, compare};
use crate::intercept::rule::{METADATA_PORT, Rule};

/// One of our chains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chain {
    /// Where it is.
    pub(super) table: &'static str,
    pub(super) name: &'static str,
    /// The chains of the kernel that ask it.
    pub(super) asked_by: &'static [&'static str],
}

pub(super) const CATCH: Chain = Chain { table: "nat", name: "KIAM-CATCH", asked_by: &["PREROUTING"] };
pub(super) const CLOSE: Chain = Chain { table: "mangle", name: "KIAM-CLOSE", asked_by: &["INPUT", "FORWARD"] };

/// What a table has of a chain of ours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Present {
    /// The chain's rules, if it is there.
    rules: Option<Vec<Seen>>,
    /// How often each of `asked_by` asks it.
    asked: Vec<usize>,
}

impl Present {
    /// Reads what `iptables-save -c` printed of the chain's table.
    pub(super) fn read(chain: Chain, saved: &str) -> Self {
        let declared = saved.lines().any(|line| line.strip_prefix(':').and_then(first_word) == Some(chain.name));
        let rules = || saved.lines().filter_map(counted);
        let asked = |by: &&str| {
            let jump = format!("{by} -j {}", chain.name);
            rules().filter(|(_, rule)| *rule == jump).count()
        };
        let ours = rules().filter(|(_, rule)| first_word(rule) == Some(chain.name));
        let seen = ours.map(|(packets, rule)| Seen { words: comment(rule).to_owned(), packets });
        Self { rules: declared.then(|| seen.collect()), asked: chain.asked_by.iter().map(asked).collect() }
    }

    /// Whether there is nothing at all.
    pub(super) fn is_nothing(&self) -> bool {
        self.rules.is_none() && self.asked.iter().all(|times| *times == 0)
    }

    /// The packets of all rules, or the first difference from what is wanted.
    pub(super) fn compare(&self, chain: Chain, wanted: &[&Rule]) -> Result<u64, String> {
        let Some(rules) = &self.rules else {
            return Err(format!("the chain {} is missing", chain.name));
        };
        match chain.asked_by.iter().zip(&self.asked).find(|(_, times)| **times == 0) {
            Some((by, _)) => Err(format!("{by} does not ask the chain {}", chain.name)),
            None => compare(wanted.iter().copied(), rules),
        }
    }
}

/// A table's part of what `iptables-restore --noflush` is given to have these rules in the chain and no others, and the
/// chain asked once by each. All of it is done at once, or nothing.
pub(super) fn install(chain: Chain, rules: &[&Rule], present: &Present) -> String {
    let mut script = format!("*{}\n:{} - [0:0]\n", chain.table, chain.name);
    for rule in rules {
        let _ = writeln!(script, "-A {} {}", chain.name, rendered(rule));
    }
    for (by, times) in chain.asked_by.iter().zip(&present.asked) {
        if *times == 0 {
            let _ = writeln!(script, "-I {by} 1 -j {}", chain.name);
        }
        script.extend((1..*times).map(|_| format!("-D {by} -j {}\n", chain.name)));
    }
    script + "COMMIT\n"
}

/// The same to have nothing of the chain.
pub(super) fn remove(chain: Chain, present: &Present) -> String {
    let mut script = format!("*{}\n:{} - [0:0]\n", chain.table, chain.name);
    for (by, times) in chain.asked_by.iter().zip(&present.asked) {
        script.extend((0..*times).map(|_| format!("-D {by} -j {}\n", chain.name)));
    }
    script + &format!("-X {}\nCOMMIT\n", chain.name)
}

/// Whether a rule is about packets of this IP version.
pub(super) fn concerns(rule: &Rule, v6: bool) -> bool {
    rule.to().is_none_or(|to| to.is_ipv6() == v6)
}

fn rendered(rule: &Rule) -> String {
    let mut text = rule.from().map(|from| format!("-i {from} ")).unwrap_or_default();
    if let Some(to) = rule.to() {
        let _ = write!(text, "-d {to}/{} ", if matches!(to, IpAddr::V4(_)) { 32 } else { 128 });
    }
    if let Rule::Catch { .. } = rule {
        let _ = write!(text, "-p tcp -m tcp --dport {METADATA_PORT} ");
    }
    let _ = write!(text, "-m comment --comment \"{rule}\" ");
    text + &match rule {
        Rule::Pass { .. } => "-j RETURN".into(),
        Rule::Catch { agent, .. } => format!("-j DNAT --to-destination {agent}"),
        Rule::Close { .. } => "-j DROP".into(),
    }
}

/// `[packets:bytes] -A rule` as packets and rule.
fn counted(line: &str) -> Option<(u64, &str)> {
    let (counters, rule) = line.strip_prefix('[')?.split_once("] -A ")?;
    let (packets, _) = counters.split_once(':')?;
    Some((packets.parse().ok()?, rule.trim_end()))
}

/// A rule's comment, empty if it has none.
fn comment(rule: &str) -> &str {
    let quoted = rule.split_once("--comment \"").and_then(|(_, rest)| rest.split_once('"'));
    quoted.map_or("", |(comment, _)| comment)
}

fn first_word(text: &str) -> Option<&str> {
    text.split_whitespace().next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intercept::rule::tests::plan;

    const SAVED: &str = "\
# Generated by iptables-save v1.8.9 (nf_tables) on Sat Nov 21 23:38:13 2026
*nat
:PREROUTING ACCEPT [0:0]
:KIAM-CATCH - [0:0]
:KUBE-SERVICES - [0:0]
[9:540] -A PREROUTING -j KIAM-CATCH
[0:0] -A PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES
[7:420] -A KIAM-CATCH -d 169.254.169.254/32 -i eni+ -p tcp -m tcp --dport 80 -m comment --comment \"kiam: from eni+ to \
169.254.169.254 port 80: to 10.0.0.1:3100\" -j DNAT --to-destination 10.0.0.1:3100
[1:60] -A KIAM-CATCH -d 169.254.170.23/32 -i eni+ -p tcp -m tcp --dport 80 -m comment --comment \"kiam: from eni+ to \
169.254.170.23 port 80: to 10.0.0.1:3100\" -j DNAT --to-destination 10.0.0.1:3100
COMMIT
# Completed on Sat Nov 21 23:38:13 2026
";

    fn catching() -> Vec<Rule> {
        plan("eni+", "10.0.0.1").catching()
    }

    #[test]
    fn what_was_saved_is_compared_with_what_is_wanted() {
        let present = Present::read(CATCH, SAVED);
        assert_eq!(present.compare(CATCH, &catching().iter().collect::<Vec<_>>()), Ok(8));
        let faults = [
            (
                SAVED.replace("[9:540] -A PREROUTING -j KIAM-CATCH\n", ""),
                "PREROUTING does not ask the chain KIAM-CATCH",
            ),
            (SAVED.replace("[1:60] -A KIAM-CATCH", "[1:60] -A OTHER"), "missing: kiam: from eni+ to 169.254.170.23"),
            (SAVED.replace("KIAM-CATCH", "OTHER"), "the chain KIAM-CATCH is missing"),
        ];
        for (saved, fault) in faults {
            let found =
                Present::read(CATCH, &saved).compare(CATCH, &catching().iter().collect::<Vec<_>>()).unwrap_err();
            assert!(found.contains(fault), "{found}");
        }
    }

    #[test]
    fn nothing_is_only_where_nothing_is_left() {
        assert!(Present::read(CATCH, "*nat\n:PREROUTING ACCEPT [0:0]\nCOMMIT\n").is_nothing());
        assert!(!Present::read(CATCH, "*nat\n:KIAM-CATCH - [0:0]\nCOMMIT\n").is_nothing());
        assert!(!Present::read(CATCH, "[0:0] -A PREROUTING -j KIAM-CATCH\n").is_nothing());
    }

    #[test]
    fn the_chain_is_filled_anew_and_asked_once() {
        let rules = catching();
        let rules: Vec<&Rule> = rules.iter().collect();
        let fresh = install(CATCH, &rules, &Present::read(CATCH, "*nat\nCOMMIT\n"));
        assert!(fresh.starts_with("*nat\n:KIAM-CATCH - [0:0]\n-A KIAM-CATCH -i eni+ -d 169.254.169.254/32 -p tcp "));
        assert!(fresh.contains(" -j DNAT --to-destination 10.0.0.1:3100\n"));
        assert!(fresh.ends_with("-I PREROUTING 1 -j KIAM-CATCH\nCOMMIT\n"), "{fresh}");
        assert!(!install(CATCH, &rules, &Present::read(CATCH, SAVED)).contains("PREROUTING"));
        let thrice =
            SAVED.replace("[9:540] -A PREROUTING -j KIAM-CATCH\n", &"[0:0] -A PREROUTING -j KIAM-CATCH\n".repeat(3));
        let again = install(CATCH, &rules, &Present::read(CATCH, &thrice));
        assert_eq!(again.matches("-D PREROUTING -j KIAM-CATCH\n").count(), 2, "{again}");
    }

    #[test]
    fn nothing_of_the_chain_is_left_when_it_is_removed() {
        assert_eq!(
            remove(CATCH, &Present::read(CATCH, SAVED)),
            "*nat\n:KIAM-CATCH - [0:0]\n-D PREROUTING -j KIAM-CATCH\n-X KIAM-CATCH\nCOMMIT\n"
        );
    }

    #[test]
    fn what_passes_passes_in_both_ip_versions() {
        let rules = plan("!eth0", "10.0.0.1,fd00::1").closing();
        let of = |v6| rules.iter().filter(|rule| concerns(rule, v6)).map(rendered).collect::<Vec<_>>();
        assert_eq!(of(false)[0], "-i eth0 -m comment --comment \"kiam: from eth0: no pod\" -j RETURN");
        assert_eq!(
            of(true)[2],
            "-d fd00:ec2::254/128 -m comment --comment \"kiam: from anywhere to fd00:ec2::254: closed\" -j DROP"
        );
    }
}
