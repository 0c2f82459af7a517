//! Each link of the chain, whole and broken.

use std::sync::Arc;
use std::time::Duration;

use kiam_common::report::{Report, Verdict};

use super::*;
use crate::directory::Directory;
use crate::directory::bystanders::Apart;
use crate::directory::pods::PodFields;
use crate::directory::sighting::Subject;
use crate::fixtures::{directory, namespace, pod};
use crate::role::RoleAnnotations;
use crate::sts::{StsError, StsErrorKind};

fn now() -> Timestamp {
    "2026-11-21T10:00:00Z".parse().unwrap()
}

fn named(name: &str) -> Subject {
    Subject::Named { namespace: "team".into(), name: name.into() }
}

/// A directory with `team/a`, which its namespace permits the role `reader`.
fn with_reader() -> Arc<Directory> {
    let directory = directory();
    directory.apply_namespace(&namespace(".*:role/reader"));
    directory.apply_pod(&pod("a", "10.0.0.1", Some("reader")));
    directory
}

fn held() -> Standing {
    Standing { ends: Some(now() + Duration::from_mins(40)), called: false, failure: None }
}

fn refused(kind: StsErrorKind) -> Arc<StsError> {
    Arc::new(StsError { kind, code: Some("AccessDenied".into()), message: "not you".into() })
}

fn supplied() -> Supplied {
    let said = Said { applied: 7, rules_are_whole: Some(true) };
    Supplied { version: "0.1.0".into(), heard_at: now() - Duration::from_secs(2), sent: 7, said: Some(said) }
}

/// Of a pod that has all it needs, or whatever the directory has.
fn facts(directory: &Directory, subject: &Subject) -> Facts {
    Facts { sighting: directory.sighting(subject), standing: Some(held()), agent: Some(supplied()), now: now() }
}

/// The one step that is neither good nor skipped.
fn trouble(facts: &Facts) -> Step {
    let steps = steps(facts);
    let names: Vec<&str> = steps.iter().map(|step| step.check.as_str()).collect();
    assert_eq!(names, CHECKS, "every check is there once");
    let mut odd = steps.into_iter().filter(|step| matches!(step.verdict, Verdict::Bad | Verdict::Doubtful));
    let trouble = odd.next().expect("something is wrong");
    assert_eq!(odd.next(), None);
    assert!(!trouble.advice.is_empty(), "{trouble:?}");
    trouble
}

fn assert_trouble(facts: &Facts, check: &str, verdict: Verdict, words: &str) {
    let trouble = trouble(facts);
    assert_eq!((trouble.check.as_str(), trouble.verdict), (check, verdict), "{trouble:?}");
    assert!(trouble.found.contains(words), "{words:?} is not in {trouble:?}");
}

#[test]
fn a_pod_that_has_all_it_needs_is_good_at_every_step() {
    for subject in [named("a"), Subject::At("10.0.0.1".parse().unwrap())] {
        let report = Report::new("team/a", steps(&facts(&with_reader(), &subject)));
        assert!(report.steps.iter().all(|step| step.verdict == Verdict::Good), "{}", report.to_text());
        let text = report.to_text();
        for words in [
            "team/a is known, uid uid-of-a",
            "on node-1",
            "10.0.0.1: no other live pod has it",
            "iam.amazonaws.com/role \"reader\"",
            "arn:aws:iam::123456789012:role/reader, session kiam-kiam",
            "iam.amazonaws.com/permitted \".*:role/reader\" permits it",
            "valid for 40m 0s",
            "version 0.1.0, was heard of 2s ago",
            "all 7 messages",
            "rules are whole",
        ] {
            assert!(text.contains(words), "{words:?} is not in {text}");
        }
    }
}

#[test]
fn a_pod_that_is_not_known_ends_the_chain_at_once() {
    let directory = with_reader();
    for subject in [named("b"), Subject::At("10.0.0.2".parse().unwrap())] {
        assert_trouble(&facts(&directory, &subject), "pod", Verdict::Bad, "knows of no such live pod");
    }
}

#[test]
fn finished_pods_and_those_on_the_hosts_network_have_no_identity() {
    let directory = with_reader();
    let one = pod("a", "10.0.0.1", Some("reader"));
    directory.apply_pod(&PodFields { finished: true, ..one.clone() });
    assert_trouble(&facts(&directory, &named("a")), "phase", Verdict::Bad, "finished");
    directory.apply_pod(&PodFields { host_network: true, ..one });
    assert_trouble(&facts(&directory, &named("a")), "phase", Verdict::Bad, "host's network");
    directory.delete_pod("uid-of-a");
    assert_trouble(&facts(&directory, &named("a")), "pod", Verdict::Bad, "no such live pod");
    assert_eq!(Apart::of(&pod("a", "10.0.0.1", None)), None);
}

#[test]
fn a_pod_needs_a_node_and_an_address() {
    let directory = with_reader();
    directory.apply_pod(&PodFields { ips: Vec::new(), ..pod("a", "10.0.0.1", Some("reader")) });
    assert_trouble(&facts(&directory, &named("a")), "address", Verdict::Bad, "no address yet");
    directory.apply_pod(&PodFields { node: None, ..pod("a", "10.0.0.1", Some("reader")) });
    assert_trouble(&facts(&directory, &named("a")), "phase", Verdict::Bad, "on no node yet");
}

#[test]
fn an_address_that_two_pods_have_is_nobodys() {
    let directory = with_reader();
    directory.apply_pod(&pod("b", "10.0.0.1", None));
    for subject in [named("a"), Subject::At("10.0.0.1".parse().unwrap())] {
        assert_trouble(&facts(&directory, &subject), "address", Verdict::Bad, "10.0.0.1: team/a, team/b");
    }
}

#[test]
fn what_the_annotations_lack_is_told() {
    let directory = with_reader();
    directory.apply_pod(&pod("a", "10.0.0.1", None));
    assert_trouble(&facts(&directory, &named("a")), "annotation", Verdict::Bad, "no iam.amazonaws.com/role");
    directory.apply_pod(&pod("a", "10.0.0.1", Some("arn:aws:s3:::bucket")));
    assert_trouble(&facts(&directory, &named("a")), "role", Verdict::Bad, "is not a role ARN");
    let external_id = Some("x-1".to_owned());
    let annotations = RoleAnnotations { role: Some("reader".into()), external_id, ..RoleAnnotations::default() };
    directory.apply_pod(&PodFields { annotations, ..pod("a", "10.0.0.1", None) });
    let steps = steps(&facts(&directory, &named("a")));
    assert!(steps[4].found.ends_with("with an external id") && steps[4].verdict == Verdict::Good, "{:?}", steps[4]);
}

#[test]
fn what_the_namespace_does_not_permit_is_told_and_no_credentials_are_looked_for() {
    let directory = with_reader();
    for (permitted, words) in [("writer", "does not match"), ("(", "permits no role"), ("", "permits no role")] {
        directory.apply_namespace(&namespace(permitted));
        let facts = facts(&directory, &named("a"));
        assert_trouble(&facts, "namespace", Verdict::Bad, words);
        assert_eq!(steps(&facts)[6].verdict, Verdict::Skipped);
    }
    directory.delete_namespace("team");
    assert_trouble(&facts(&directory, &named("a")), "namespace", Verdict::Bad, "not known yet");
}

#[test]
fn the_vaults_state_is_told_with_the_last_word_of_sts() {
    let directory = with_reader();
    let with = |standing| Facts { standing, ..facts(&directory, &named("a")) };
    let nothing = Standing { ends: None, called: false, failure: None };
    let failed = |kind| Some(refused(kind));
    for (standing, verdict, words) in [
        (None, Verdict::Doubtful, "nobody has asked"),
        (Some(nothing.clone()), Verdict::Doubtful, "have ended"),
        (Some(Standing { called: true, ..nothing.clone() }), Verdict::Doubtful, "STS is being asked"),
        (
            Some(Standing { failure: failed(StsErrorKind::Throttled), ..held() }),
            Verdict::Doubtful,
            "valid for 40m 0s; their renewal failed: AccessDenied: not you",
        ),
    ] {
        assert_trouble(&with(standing), "credentials", verdict, words);
    }
    for kind in StsErrorKind::ALL {
        let standing = Some(Standing { failure: failed(kind), ..nothing.clone() });
        assert_trouble(&with(standing), "credentials", Verdict::Bad, "AccessDenied: not you");
    }
}

#[test]
fn the_agents_stream_sequence_and_rules_are_told() {
    let directory = with_reader();
    let with = |agent| Facts { agent, ..facts(&directory, &named("a")) };
    let saying = |said| Some(Supplied { said, ..supplied() });
    assert_trouble(&with(None), "node", Verdict::Doubtful, "agent of node-1 has no stream here");
    assert_trouble(&with(saying(None)), "sequence", Verdict::Doubtful, "said nothing yet");
    let behind = Said { applied: 5, rules_are_whole: Some(true) };
    assert_trouble(&with(saying(Some(behind))), "sequence", Verdict::Doubtful, "5 of 7 messages");
    let broken = Said { applied: 7, rules_are_whole: Some(false) };
    assert_trouble(&with(saying(Some(broken))), "interception", Verdict::Bad, "not whole");
    let without = steps(&with(saying(Some(Said { applied: 7, rules_are_whole: None }))));
    assert_eq!(without[9].verdict, Verdict::Skipped, "init containers may keep rules");
}

#[test]
fn what_others_said_is_told_in_part_if_it_is_long() {
    let long = StsError { kind: StsErrorKind::Refused, code: None, message: "x".repeat(100_000) };
    let standing = Standing { ends: None, called: false, failure: Some(Arc::new(long)) };
    let version = "v".repeat(100_000);
    let facts = Facts {
        standing: Some(standing),
        agent: Some(Supplied { version, ..supplied() }),
        ..facts(&with_reader(), &named("a"))
    };
    assert!(Report::new("team/a", steps(&facts)).to_text().len() < 3000);
}
