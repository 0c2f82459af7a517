//! A taint's key, as Kubernetes takes one.

use std::fmt;
use std::str::FromStr;

/// The longest name, and the longest prefix.
const NAME_MAX: usize = 63;
const PREFIX_MAX: usize = 253;

/// A qualified name: at most 63 letters, digits, `-`, `_` and `.`, after a DNS subdomain and `/` if there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaintKey(String);

/// What is no taint's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a taint's key such as example.com/agent-not-ready")]
pub struct NotAKey;

impl TaintKey {
    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TaintKey {
    type Err = NotAKey;

    fn from_str(text: &str) -> Result<Self, NotAKey> {
        let sound = match text.split_once('/') {
            Some((prefix, name)) => is_subdomain(prefix) && is_name(name),
            None => is_name(text),
        };
        sound.then(|| Self(text.to_owned())).ok_or(NotAKey)
    }
}

impl fmt::Display for TaintKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_name(text: &str) -> bool {
    let is_inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    text.len() <= NAME_MAX && text.chars().all(is_inner) && is_enclosed(text)
}

fn is_subdomain(text: &str) -> bool {
    let is_inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    text.len() <= PREFIX_MAX && text.split('.').all(|label| label.chars().all(is_inner) && is_enclosed(label))
}

/// Whether it begins and ends with a letter or a digit.
fn is_enclosed(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.ends_with(|c: char| c.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_kubernetes_takes_is_a_key() {
        let (longest_name, longest_prefix) = ("n".repeat(63), format!("{}a", "a.".repeat(126)));
        for text in [
            "a",
            "Not_Ready.1",
            "example.com/agent-not-ready",
            "startup-taint.cluster-autoscaler.kubernetes.io/kiam",
            &longest_name,
            &format!("{longest_prefix}/{longest_name}"),
        ] {
            assert_eq!(text.parse::<TaintKey>().map(|key| key.to_string()), Ok(text.to_owned()));
        }
    }

    #[test]
    fn anything_else_is_none() {
        let (long_name, long_prefix) = ("n".repeat(64), "a.".repeat(126) + "aa");
        for text in [
            "",
            "/",
            "/a",
            "a/",
            "a/b/c",
            "a b",
            "-a",
            "a-",
            ".a",
            "a=true:NoSchedule",
            "Example.com/a",
            "exa_mple.com/a",
            "example..com/a",
            "-example.com/a",
            "example.com-/a",
            "schlüssel",
            &long_name,
            &format!("{long_prefix}/a"),
        ] {
            assert_eq!(text.parse::<TaintKey>(), Err(NotAKey), "{text:?}");
        }
    }
}
