//! What is news to an agent.

use std::collections::BTreeMap;

use super::*;
use crate::directory::Directory;
use crate::fixtures::{self, identity, namespace, pod};
use crate::sts::StsErrorKind;

/// A directory and a stream of `node-1`, by hand.
struct Hand {
    directory: Arc<Directory>,
    told: Told,
}

impl Hand {
    fn new() -> Self {
        let directory = fixtures::directory();
        directory.apply_namespace(&namespace(".*"));
        Self { directory, told: Told::default() }
    }

    fn apply(&self, name: &str, ip: &str, role: Option<&str>) {
        self.directory.apply_pod(&pod(name, ip, role));
    }

    fn look(&mut self, ip: &str) -> Option<Message> {
        let ip = ip.parse().unwrap();
        self.told.bind(ip, self.directory.entitlement("node-1", ip))
    }
}

fn issued(number: u8) -> Arc<Issued> {
    let begin: Timestamp = "2026-11-21T10:00:00Z".parse().unwrap();
    let credentials = kiam_common::credentials::Credentials {
        access_key_id: format!("ASIA{number}"),
        secret_access_key: kiam_common::secret::Secret::new("secret".into()),
        session_token: kiam_common::secret::Secret::new("token".into()),
        expiration: begin,
        last_updated: begin,
    };
    Arc::new(Issued::new(credentials, &identity("reader").arn))
}

fn held(issued: &Arc<Issued>) -> Supply {
    Supply::Held { issued: Arc::clone(issued), ends: "2026-11-21T11:00:00Z".parse().unwrap() }
}

fn failed(code: &str) -> Supply {
    let error = StsError { kind: StsErrorKind::Refused, code: Some(code.into()), message: "not you".into() };
    Supply::Failed(Arc::new(error))
}

#[test]
fn pods_of_one_role_share_a_session_and_others_have_their_own() {
    let mut hand = Hand::new();
    for (name, ip, role, number) in
        [("a", "10.0.0.1", "reader", 1), ("b", "10.0.0.2", "/reader", 1), ("c", "10.0.0.3", "writer", 2)]
    {
        hand.apply(name, ip, Some(role));
        let Some(Message::Bind { session, role: told, .. }) = hand.look(ip) else { panic!("no role for {name}") };
        assert_eq!((session, &*told.text), (number, role), "{name}");
    }
}

#[test]
fn what_the_agent_knows_is_not_told_again() {
    let mut hand = Hand::new();
    hand.apply("a", "10.0.0.1", Some("reader"));
    hand.apply("b", "10.0.0.2", None);
    assert!(matches!(hand.look("10.0.0.1"), Some(Message::Bind { .. })));
    assert!(matches!(hand.look("10.0.0.2"), Some(Message::Refuse { error: Error::NoRole, .. })));
    for ip in ["10.0.0.1", "10.0.0.2", "10.0.0.3"] {
        assert!(hand.look(ip).is_none(), "{ip}");
    }
}

#[test]
fn the_same_role_for_another_pod_at_the_address_is_news() {
    let mut hand = Hand::new();
    hand.apply("a", "10.0.0.1", Some("reader"));
    hand.look("10.0.0.1");
    hand.directory.delete_pod("uid-of-a");
    hand.apply("b", "10.0.0.1", Some("reader"));
    let Some(Message::Bind { pod, session: 1, .. }) = hand.look("10.0.0.1") else { panic!("not told") };
    assert_eq!(&*pod.name, "b");
    assert!(hand.told.revoke().is_empty(), "the session has been in use all the time");
}

#[test]
fn a_session_is_revoked_when_its_last_address_is_gone_and_its_number_never_comes_back() {
    let mut hand = Hand::new();
    hand.apply("a", "10.0.0.1", Some("reader"));
    hand.apply("b", "10.0.0.2", Some("reader"));
    hand.look("10.0.0.1");
    hand.look("10.0.0.2");
    hand.directory.delete_pod("uid-of-a");
    assert!(matches!(hand.look("10.0.0.1"), Some(Message::Unbind { .. })));
    assert!(hand.told.revoke().is_empty());
    hand.apply("b", "10.0.0.2", None);
    hand.look("10.0.0.2");
    assert!(matches!(hand.told.revoke()[..], [(_, Message::Revoke { session: 1 })]));
    hand.apply("b", "10.0.0.2", Some("reader"));
    assert!(matches!(hand.look("10.0.0.2"), Some(Message::Bind { session: 2, .. })));
}

#[test]
fn credentials_are_told_once_and_again_when_they_are_others() {
    let mut hand = Hand::new();
    let (reader, first, second) = (identity("reader"), issued(1), issued(2));
    assert!(hand.told.supply(&reader, || panic!("no address refers to it")).is_none());
    hand.apply("a", "10.0.0.1", Some("reader"));
    hand.look("10.0.0.1");
    assert!(hand.told.supply(&reader, || Supply::Awaited).is_none());
    assert!(matches!(hand.told.supply(&reader, || held(&first)), Some(Message::Grant { session: 1, .. })));
    assert!(hand.told.supply(&reader, || held(&first)).is_none());
    assert!(hand.told.supply(&reader, || Supply::Awaited).is_none(), "what was granted is good until it ends");
    let Some(Message::Grant { issued, .. }) = hand.told.supply(&reader, || held(&second)) else { panic!("not told") };
    assert_eq!(issued.credentials.access_key_id, "ASIA2");
}

#[test]
fn a_failure_is_told_once_and_what_follows_it() {
    let mut hand = Hand::new();
    let (reader, credentials) = (identity("reader"), issued(1));
    hand.apply("a", "10.0.0.1", Some("reader"));
    hand.look("10.0.0.1");
    assert!(matches!(hand.told.supply(&reader, || failed("AccessDenied")), Some(Message::Withhold { .. })));
    assert!(hand.told.supply(&reader, || failed("AccessDenied")).is_none(), "it says the same");
    assert!(matches!(hand.told.supply(&reader, || failed("ValidationError")), Some(Message::Withhold { .. })));
    assert!(matches!(hand.told.supply(&reader, || held(&credentials)), Some(Message::Grant { .. })));
}

#[test]
fn nothing_keeps_credentials_that_the_vault_has_let_go() {
    let mut hand = Hand::new();
    let credentials = issued(1);
    hand.apply("a", "10.0.0.1", Some("reader"));
    hand.look("10.0.0.1");
    hand.told.supply(&identity("reader"), || held(&credentials));
    assert_eq!(Arc::strong_count(&credentials), 1);
}

/// What an agent knows that applies what it is told.
#[derive(Debug, Default, PartialEq, Eq)]
struct Agent {
    /// The pod, and its role if it may have it.
    bindings: BTreeMap<IpAddr, (String, Option<(String, u64)>)>,
    sessions: BTreeMap<u64, String>,
}

impl Agent {
    fn apply(&mut self, message: Message) {
        match message {
            Message::Bind { ip, pod, role, session } => {
                self.bindings.insert(ip, (pod.uid.to_string(), Some((role.arn().to_string(), session))));
            }
            Message::Refuse { ip, pod, .. } => {
                self.bindings.insert(ip, (pod.uid.to_string(), None));
            }
            Message::Unbind { ip } => assert!(self.bindings.remove(&ip).is_some(), "{ip} was not bound"),
            Message::Grant { session, issued, .. } => {
                self.sessions.insert(session, issued.credentials.access_key_id.clone());
            }
            Message::Withhold { .. } => panic!("nothing fails here"),
            Message::Revoke { session } => {
                assert!(self.sessions.remove(&session).is_some(), "{session} had been granted");
                let refers =
                    |(_, role): &(String, Option<(String, u64)>)| role.as_ref().is_some_and(|r| r.1 == session);
                assert!(!self.bindings.values().any(refers), "{session} is in use");
            }
        }
    }
}

/// Pods come, go, change and share addresses at random; after each look the agent knows what the directory says.
#[test]
fn an_agent_that_applies_what_it_is_told_knows_what_there_is() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut hand, mut agent) = (Hand::new(), Agent::default());
    let credentials = BTreeMap::from([("reader", issued(1)), ("writer", issued(2))]);
    let ips = ["10.0.0.1", "10.0.0.2", "10.0.0.3"];
    for _ in 0..5_000 {
        let (name, ip) = (random.choice(["a", "b", "c", "d"]).unwrap(), random.choice(ips).unwrap());
        if random.u8(..4) == 0 {
            hand.directory.delete_pod(&format!("uid-of-{name}"));
        } else {
            hand.apply(name, ip, random.choice([None, Some("reader"), Some("writer")]).unwrap());
        }
        for ip in ips {
            if let Some(message) = hand.look(ip) {
                agent.apply(message);
            }
        }
        hand.told.revoke().into_iter().for_each(|(_, message)| agent.apply(message));
        for (role, issued) in &credentials {
            if let Some(message) = hand.told.supply(&identity(role), || held(issued)) {
                agent.apply(message);
            }
        }
        for ip in ips {
            let ip = ip.parse().unwrap();
            let known = agent.bindings.get(&ip).map(|(pod, role)| {
                (pod.clone(), role.as_ref().map(|(arn, session)| (arn.clone(), agent.sessions[session].clone())))
            });
            let is = hand.directory.entitlement("node-1", ip).map(|entitlement| {
                let key = |role: &AnnotatedRole| credentials[&*role.text].credentials.access_key_id.clone();
                let role = entitlement.outcome().ok().map(|role| (role.arn().to_string(), key(role)));
                (entitlement.pod.uid.to_string(), role)
            });
            assert_eq!(known, is, "{ip}, seed {seed}");
        }
    }
}
