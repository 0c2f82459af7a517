//! Session tokens as IMDSv2 has them, minted by the agent: `http/imds.rs` gives them out and judges them.
//!
//! A token is the time it ends and an HMAC over that and the pod's address, under a key that is derived from the
//! agent's private key. So nothing is kept for each token, no pod can use another's, and tokens outlive a restart: a
//! 401 makes most SDKs ask for a new token, but not all.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::ValueEnum;
use kiam_common::clock::Clock;
use ring::hmac;

/// The header that says how long a token shall live, in the request and in the answer; in seconds.
pub(crate) const TTL_HEADER: &str = "x-aws-ec2-metadata-token-ttl-seconds";
/// The header that a token is presented in.
pub(crate) const TOKEN_HEADER: &str = "x-aws-ec2-metadata-token";

/// Whether pods must present session tokens: `--imds-tokens`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Tokens {
    /// Requests without one are answered, too (`IMDSv1`)
    Optional,
    /// Requests without one are refused
    Required,
}

/// How long a token may live: 1 second to 6 hours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ttl(u16);

impl Ttl {
    const MAX: u16 = 21_600;

    /// Reads the header's value: decimal digits, 1 to 21600.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let digits = text.bytes().all(|b| b.is_ascii_digit());
        text.parse().ok().filter(|seconds| digits && (1..=Self::MAX).contains(seconds)).map(Self)
    }

    /// The life in seconds.
    pub(crate) fn seconds(self) -> u16 {
        self.0
    }
}

/// Mints tokens and tells its own from all others.
pub(crate) struct Mint {
    key: hmac::Key,
    clock: Clock,
}

/// When a token ends: seconds since 1970, big-endian.
const END_LEN: usize = 8;

impl Mint {
    /// A mint with a key that nobody else has. The same key makes the same mint.
    pub(crate) fn new(key: [u8; 32], clock: Clock) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, &key), clock }
    }

    /// A token for the pod with this address.
    pub(crate) fn issue(&self, pod: IpAddr, ttl: Ttl) -> String {
        let end = (self.clock.now().as_second() + i64::from(ttl.0)).to_be_bytes();
        let tag = hmac::sign(&self.key, &signed(end, pod));
        URL_SAFE_NO_PAD.encode([end.as_slice(), tag.as_ref()].concat())
    }

    /// Whether this mint gave `token` to this pod and it has not ended.
    pub(crate) fn accepts(&self, token: &[u8], pod: IpAddr) -> bool {
        let Ok(token) = URL_SAFE_NO_PAD.decode(token) else {
            return false;
        };
        let Some((end, tag)) = token.split_first_chunk::<END_LEN>() else {
            return false;
        };
        hmac::verify(&self.key, &signed(*end, pod), tag).is_ok()
            && self.clock.now().as_second() < i64::from_be_bytes(*end)
    }
}

/// What the HMAC is over. Addresses take their IPv6 form, so that each has one.
fn signed(end: [u8; END_LEN], pod: IpAddr) -> [u8; END_LEN + 16] {
    let address = match pod {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    let mut message = [0; END_LEN + 16];
    let (first, second) = message.split_at_mut(END_LEN);
    first.copy_from_slice(&end);
    second.copy_from_slice(&address.octets());
    message
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const POD: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

    fn mint() -> Mint {
        Mint::new([7; 32], Clock::starting_at("2026-11-21T10:00:00Z".parse().unwrap()))
    }

    fn ttl(seconds: &str) -> Ttl {
        Ttl::parse(seconds).unwrap()
    }

    #[test]
    fn a_life_is_one_second_to_six_hours() {
        for text in ["1", "60", "21600", "0021"] {
            assert!(Ttl::parse(text).is_some(), "{text}");
        }
        for text in ["", "0", "-1", "+1", "21601", "65537", "1.5", "1s", " 1", "١"] {
            assert!(Ttl::parse(text).is_none(), "{text}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_works_for_its_pod_until_it_ends() {
        let mint = mint();
        let token = mint.issue(POD, ttl("60"));
        assert!(mint.accepts(token.as_bytes(), POD));
        tokio::time::advance(Duration::from_secs(59)).await;
        assert!(mint.accepts(token.as_bytes(), POD));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(!mint.accepts(token.as_bytes(), POD));
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_of_another_pod_or_another_agent_is_refused() {
        let mint = mint();
        let other_agent = Mint::new([8; 32], mint.clock.clone());
        let token = mint.issue(POD, ttl("60"));
        assert!(!mint.accepts(token.as_bytes(), OTHER));
        assert!(!other_agent.accepts(token.as_bytes(), POD));
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_outlives_a_restart_of_its_agent() {
        let token = mint().issue(POD, ttl("60"));
        assert!(mint().accepts(token.as_bytes(), POD));
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_changed_or_cut_anywhere_is_refused() {
        let mint = mint();
        let token = mint.issue(POD, ttl("60")).into_bytes();
        for at in 0..token.len() {
            let mut forged = token.clone();
            forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
            assert!(!mint.accepts(&forged, POD), "changed at {at}");
            assert!(!mint.accepts(&token[..at], POD), "cut at {at}");
        }
        for garbage in [&b""[..], b"AAAA", b"\xff\xff", &[b'A'; 54], &[b'A'; 4096]] {
            assert!(!mint.accepts(garbage, POD));
        }
    }
}
