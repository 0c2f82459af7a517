//! From the wire's messages to the ledger's changes. Called by `sync/stream` for each message.
//!
//! What must always hold: what cannot be understood gives nothing to anybody. A binding that makes no sense takes away
//! the one before it, credentials that make none are left out.

use std::net::IpAddr;
use std::time::Duration;

use kiam_common::reason::{Reason, Refusal};
use kiam_proto::node::bind::Decision as WireDecision;
use kiam_proto::node::server_message::Message;
use kiam_proto::node::{self as wire, Bind, Grant};
use tokio::time::Instant;

use crate::document::{Incomplete, render_both};
use crate::ledger::{Binding, BoundRole, Change, Credentials, Decision};

/// No session that AWS gives lives longer.
const LIFE_MAX: Duration = Duration::from_hours(12);

/// What a message means to the agent.
#[derive(Debug)]
pub(crate) enum Meaning {
    /// A change of the ledger.
    Change(Change),
    /// The snapshot is complete.
    SnapshotEnd,
    /// The server is about to stop.
    GoAway(String),
    /// The server wants the agent's series; the number goes back with them.
    MetricsWanted(u64),
    /// Nothing: it is news to nobody, or of a later version.
    Nothing,
}

/// Why a message makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Senseless {
    /// Expected an IPv4 or IPv6 address in text form.
    #[error("a message about something that is no IP address")]
    Address,
    /// Expected a pod with a uid.
    #[error("a binding of {0} without the uid of its pod")]
    Pod(IpAddr),
    /// Expected a role with an ARN, or a refusal.
    #[error("a binding of {0} without a decision that is known here")]
    Decision(IpAddr),
    /// Expected a key, a secret, a token and an end.
    #[error("a grant of incomplete credentials")]
    Credentials(#[from] Incomplete),
}

impl Senseless {
    /// What to do instead.
    pub(crate) fn instead(&self) -> Meaning {
        match self {
            Self::Pod(ip) | Self::Decision(ip) => Meaning::Change(Change::Unbind(*ip)),
            Self::Address | Self::Credentials(_) => Meaning::Nothing,
        }
    }
}

/// Reads one message. The life of credentials is counted from now.
pub(crate) fn decode(message: Option<Message>) -> Result<Meaning, Senseless> {
    Ok(match message {
        Some(Message::Bind(bind)) => Meaning::Change(binding(bind)?),
        Some(Message::Unbind(unbind)) => Meaning::Change(Change::Unbind(ip(&unbind.ip)?)),
        Some(Message::Grant(grant)) => Meaning::Change(granted(grant)?),
        Some(Message::Revoke(revoke)) => Meaning::Change(Change::Revoke(revoke.session)),
        Some(Message::SnapshotEnd(_)) => Meaning::SnapshotEnd,
        Some(Message::GoAway(go_away)) => Meaning::GoAway(go_away.reason),
        Some(Message::MetricsWanted(wanted)) => Meaning::MetricsWanted(wanted.id),
        // What is withheld is asked for by a call, which says why it is and puts it on the pod as an event.
        Some(Message::Welcome(_) | Message::Withhold(_)) | None => Meaning::Nothing,
    })
}

/// An IPv4 address has one form only, however the server writes it.
fn ip(text: &str) -> Result<IpAddr, Senseless> {
    text.parse().map(|ip: IpAddr| ip.to_canonical()).map_err(|_| Senseless::Address)
}

fn binding(bind: Bind) -> Result<Change, Senseless> {
    let ip = ip(&bind.ip)?;
    let pod = bind.pod.filter(|pod| !pod.uid.is_empty()).ok_or(Senseless::Pod(ip))?;
    let decision = match bind.decision {
        Some(WireDecision::Role(role)) if !role.name.is_empty() && !role.arn.is_empty() => {
            Decision::Role(BoundRole { name: role.name.into(), arn: role.arn.into(), session: role.session })
        }
        Some(WireDecision::Refusal(why)) => Decision::Refused(refusal(why)),
        Some(WireDecision::Role(_)) | None => return Err(Senseless::Decision(ip)),
    };
    let (uid, namespace, name) = (pod.uid.into(), pod.namespace.into(), pod.name.into());
    Ok(Change::Bind(ip, Binding { uid, namespace, name, decision }))
}

/// A reason that is not known here is a later server's: a refusal all the same.
fn refusal(refusal: wire::Refusal) -> Refusal {
    let reason = Reason::from_name(&refusal.reason).unwrap_or(Reason::Forbidden);
    let aws_code = Some(refusal.aws_code).filter(|code| !code.is_empty());
    Refusal { reason, message: refusal.message, aws_code }
}

fn granted(grant: Grant) -> Result<Change, Senseless> {
    let documents = render_both(grant.credentials.ok_or(Incomplete)?)?;
    let ends = Instant::now() + LIFE_MAX.min(Duration::from_millis(grant.life_ms));
    Ok(Change::Grant(grant.session, Credentials { documents, ends }))
}

#[cfg(test)]
mod tests {
    use kiam_proto::kiam;
    use kiam_proto::node::{Pod, Revoke, SnapshotEnd, Unbind, Withhold};

    use super::*;

    const IP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));

    fn bound(change: impl FnOnce(&mut Bind)) -> Result<Meaning, Senseless> {
        let pod = Pod { uid: "u-1".into(), namespace: "team".into(), name: "reader-0".into() };
        let role = wire::BoundRole { name: "reader".into(), arn: "arn:aws:iam::1:role/reader".into(), session: 7 };
        let mut bind = Bind { ip: "10.0.0.1".into(), pod: Some(pod), decision: Some(WireDecision::Role(role)) };
        change(&mut bind);
        decode(Some(Message::Bind(bind)))
    }

    fn granted(life_ms: u64, change: impl FnOnce(&mut kiam::Credentials)) -> Result<Meaning, Senseless> {
        let mut credentials = kiam::Credentials {
            access_key_id: "ASIA".into(),
            secret_access_key: "wJalrXUtnFEMI".into(),
            token: "FQoGZXIvYXdzE".into(),
            expiration: "2026-11-21T10:00:00Z".into(),
            ..kiam::Credentials::default()
        };
        change(&mut credentials);
        decode(Some(Message::Grant(Grant { session: 7, credentials: Some(credentials), life_ms })))
    }

    #[test]
    fn a_binding_is_read_with_its_address_in_one_form() {
        for text in ["10.0.0.1", "::ffff:10.0.0.1", "::ffff:a00:1"] {
            let Ok(Meaning::Change(Change::Bind(ip, binding))) = bound(|bind| bind.ip = text.into()) else {
                panic!("{text}")
            };
            assert_eq!((ip, &*binding.uid), (IP, "u-1"));
            assert_eq!((&*binding.namespace, &*binding.name), ("team", "reader-0"));
        }
    }

    #[test]
    fn a_binding_that_makes_no_sense_takes_away_the_one_before_it() {
        let no_role = WireDecision::Role(wire::BoundRole::default());
        for (meaning, why) in [
            (bound(|bind| bind.pod = None), Senseless::Pod(IP)),
            (bound(|bind| bind.pod = Some(Pod::default())), Senseless::Pod(IP)),
            (bound(|bind| bind.decision = None), Senseless::Decision(IP)),
            (bound(|bind| bind.decision = Some(no_role)), Senseless::Decision(IP)),
        ] {
            let senseless = meaning.unwrap_err();
            assert_eq!(senseless, why);
            assert!(matches!(senseless.instead(), Meaning::Change(Change::Unbind(IP))));
        }
        let senseless = bound(|bind| bind.ip = "10.0.0.256".into()).unwrap_err();
        assert!(senseless == Senseless::Address && matches!(senseless.instead(), Meaning::Nothing));
    }

    #[test]
    fn a_reason_of_a_later_server_is_a_refusal_all_the_same() {
        let later = wire::Refusal { reason: "Novel".into(), message: "why".into(), aws_code: String::new() };
        let meaning = bound(|bind| bind.decision = Some(WireDecision::Refusal(later)));
        let Ok(Meaning::Change(Change::Bind(_, binding))) = meaning else { panic!("{meaning:?}") };
        let wanted = Refusal { reason: Reason::Forbidden, message: "why".into(), aws_code: None };
        assert_eq!(binding.decision, Decision::Refused(wanted));
    }

    #[tokio::test(start_paused = true)]
    async fn credentials_live_as_long_as_was_said_but_never_longer_than_aws_lets_them() {
        for (life_ms, wanted) in [(1500, Duration::from_millis(1500)), (0, Duration::ZERO), (u64::MAX, LIFE_MAX)] {
            let meaning = granted(life_ms, |_| ());
            let Ok(Meaning::Change(Change::Grant(7, credentials))) = meaning else { panic!("{meaning:?}") };
            assert_eq!(credentials.ends.duration_since(Instant::now()), wanted);
        }
    }

    #[test]
    fn incomplete_credentials_are_left_out_and_never_shown() {
        let changes: [fn(&mut kiam::Credentials); 3] =
            [|c| c.secret_access_key.clear(), |c| c.token.clear(), |c| c.expiration.clear()];
        for change in changes {
            let senseless = granted(1000, change).unwrap_err();
            assert_eq!(senseless, Senseless::Credentials(Incomplete));
            assert!(matches!(senseless.instead(), Meaning::Nothing));
        }
        let shown = format!("{:?}", granted(1000, |_| ()));
        assert!(shown.contains("Grant") && !shown.contains("wJalrXUtnFEMI"), "{shown}");
        assert!(!shown.contains("FQoGZXIvYXdzE"), "{shown}");
    }

    #[test]
    fn messages_that_are_news_to_nobody_mean_nothing() {
        for message in [None, Some(Message::Withhold(Withhold::default()))] {
            assert!(matches!(decode(message), Ok(Meaning::Nothing)));
        }
        assert!(matches!(decode(Some(Message::SnapshotEnd(SnapshotEnd {}))), Ok(Meaning::SnapshotEnd)));
        let revoke = Message::Revoke(Revoke { session: 7 });
        assert!(matches!(decode(Some(revoke)), Ok(Meaning::Change(Change::Revoke(7)))));
        let unbind = |ip: &str| decode(Some(Message::Unbind(Unbind { ip: ip.into() })));
        assert!(matches!(unbind("fd00::1"), Ok(Meaning::Change(Change::Unbind(_)))));
        assert!(matches!(unbind(""), Err(Senseless::Address)));
    }
}
