//! Each thing that is looked at, as it should be and not.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use kiam_common::report::Verdict;
use kiam_common::testing::Pki;
use kiam_common::tls::install_crypto_provider;
use kiam_proto::node::{ListNodesResponse, Node, Status};

use super::servers::{Answer, Said, Unsaid};
use super::*;
use crate::args::{AgentArgs, AgentCommand};
use crate::intercept::Found;
use crate::metadata::Endpoint;
use crate::metadata::fake::{FakeMetadata, Mode};

fn now() -> Timestamp {
    "2026-11-21T10:00:00Z".parse().unwrap()
}

fn assert_step(step: &Step, verdict: Verdict, words: &str) {
    assert!(step.verdict == verdict && step.found.contains(words), "{verdict:?} {words:?}: {step:?}");
    let needs_advice = matches!(verdict, Verdict::Bad | Verdict::Doubtful);
    assert_eq!(!step.advice.is_empty(), needs_advice, "{step:?}");
}

#[tokio::test]
async fn the_certificate_must_be_sound_not_ended_and_of_an_authority_that_is_trusted() {
    install_crypto_provider();
    let (pki, strangers) = (Pki::new(), Pki::new());
    let sound = Identity::load(&pki.issue("agent", &["agent"])).await.unwrap();
    assert_step(&local::certificate(Ok(&sound), now()), Verdict::Good, "it is good for");
    assert_step(&local::chain(Some(&sound), now()), Verdict::Good, "verifies");

    let expired = Identity::load(&pki.issue_expired("expired", &["agent"])).await.unwrap();
    assert_step(&local::certificate(Ok(&expired), now()), Verdict::Bad, "ended 2001-01-02");
    assert_step(&local::chain(Some(&expired), now()), Verdict::Bad, "does not verify");
    let ending = "2000-12-31T00:00:00Z".parse().unwrap();
    assert_step(&local::certificate(Ok(&expired), ending), Verdict::Doubtful, "ends in 2d 0h");

    let mut files = strangers.issue("stranger", &["agent"]);
    files.ca = pki.issue("other", &["agent"]).ca;
    let stranger = Identity::load(&files).await.unwrap();
    assert_step(&local::chain(Some(&stranger), now()), Verdict::Bad, "does not verify by --ca");

    files.cert = "/nowhere/tls.crt".into();
    let missing = Identity::load(&files).await.unwrap_err();
    assert_step(&local::certificate(Err(&missing), now()), Verdict::Bad, "--cert /nowhere/tls.crt: no such file");
    assert_step(&local::chain(None, now()), Verdict::Skipped, "not looked at");
}

/// What is said of a token file with this in it.
async fn of_token(directory: &Path, text: &str) -> Step {
    let file = directory.join("token");
    fs::write(&file, text).unwrap();
    let step = local::token(Some(&TokenFile::open(file).await), "kiam-server", now());
    assert!(!format!("{step:?}").contains("signature"), "{step:?}");
    step
}

#[tokio::test]
async fn the_token_must_be_there_for_these_servers_and_not_ended_and_is_never_shown() {
    let directory = tempfile::tempdir().unwrap();
    let token = |claims: &str| format!("head.{}.signature", URL_SAFE_NO_PAD.encode(claims));
    let seconds = now().as_second();
    for (text, verdict, words) in [
        (token(&format!(r#"{{"aud": ["kiam-server"], "exp": {}}}"#, seconds + 600)), Verdict::Good, "for 10m 0s more"),
        (token(r#"{"aud": "kiam-server"}"#), Verdict::Good, "does not end"),
        (token(&format!(r#"{{"aud": ["kiam-server"], "exp": {seconds}}}"#)), Verdict::Bad, "it has ended"),
        (token(r#"{"aud": ["vault"]}"#), Verdict::Bad, "not for \"kiam-server\""),
        ("a secret signature".into(), Verdict::Bad, "no JSON Web Token"),
        (String::new(), Verdict::Bad, "it is empty"),
    ] {
        assert_step(&of_token(directory.path(), &text).await, verdict, words);
    }
    assert_step(&local::token(None, "kiam-server", now()), Verdict::Skipped, "no --server-token-file");
}

#[tokio::test]
async fn rules_must_be_whole_where_the_agent_keeps_them() {
    let whole = Found::Whole { caught: 3, closed: 0 };
    assert_step(&local::of_rules("interception", &whole), Verdict::Good, "3 connections were caught");
    for (found, words) in
        [(Found::Nothing, "there are no rules"), (Found::Different("missing: this".into()), "missing: this")]
    {
        assert_step(&local::of_rules("interception", &found), Verdict::Bad, words);
    }
    assert_step(&local::interception(None, Duration::ZERO).await, Verdict::Skipped, "--intercept=none");
}

#[tokio::test]
async fn the_instance_metadata_service_must_answer() {
    let service = FakeMetadata::start(Mode::V2).await;
    let endpoint = |address: SocketAddr| Endpoint::parse(&format!("http://{address}")).unwrap();
    assert_step(&local::metadata(&endpoint(service.address)).await, Verdict::Good, "answers: this is i-");
    let failing = FakeMetadata::start(Mode::Status(404)).await;
    assert_step(&local::metadata(&endpoint(failing.address)).await, Verdict::Bad, "answers 404");
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    assert_step(&local::metadata(&endpoint(closed)).await, Verdict::Bad, "cannot be reached");
}

#[test]
fn there_must_be_room_for_the_connections() {
    assert_step(&local::descriptors(1), Verdict::Good, "room for 1 connections");
    assert_step(&local::descriptors(usize::MAX), Verdict::Doubtful, "there is room for");
}

fn answer(said: Result<Said, Unsaid>) -> Answer {
    Answer { server: ([10, 0, 0, 1], 443).into(), said }
}

/// A ready server with node-a, whose clock shows this many seconds more than ours.
fn ready(ahead: i64) -> Said {
    let status = Status { applied_sequence: 4, ..Status::default() };
    let node = Node { name: "node-a".into(), sent_sequence: 5, status: Some(status), ..Node::default() };
    let fleet = ListNodesResponse { nodes: vec![node], server_version: "0.1.0".into(), ..Default::default() };
    Said { fleet, times: Some((now() + jiff::SignedDuration::from_secs(ahead), now())) }
}

#[test]
fn the_clock_is_compared_with_the_servers() {
    for (ahead, verdict, words) in [
        (0, Verdict::Good, "it is the server's"),
        (-3, Verdict::Good, "it is the server's"),
        (60, Verdict::Doubtful, "1m 0s behind the server's"),
        (-301, Verdict::Bad, "5m 1s ahead of the server's"),
    ] {
        assert_step(&servers::steps(&[answer(Ok(ready(ahead)))], Some("node-a"))[0], verdict, words);
    }
    let silent = answer(Err(Unsaid::Older));
    assert_step(&servers::steps(&[silent], None)[0], Verdict::Skipped, "no server told");
}

#[test]
fn a_server_that_fails_is_bad_unless_another_is_good() {
    let mut starting = ready(0);
    starting.fleet.waiting_for = vec!["pods".into()];
    for (said, words) in [
        (Ok(starting), "10.0.0.1:443 is not ready: it waits for pods"),
        (Err(Unsaid::Refused("no token".into())), "refuses this agent: no token"),
        (Err(Unsaid::Unreachable("connection refused".into())), "10.0.0.1:443: connection refused"),
    ] {
        let mut answers = vec![answer(said)];
        assert_step(&servers::steps(&answers, None)[1], Verdict::Bad, words);
        answers.push(answer(Ok(ready(0))));
        let steps = servers::steps(&answers, None);
        assert_step(&steps[1], Verdict::Doubtful, words);
        assert_step(&steps[2], Verdict::Good, "is ready, version 0.1.0");
    }
    assert_step(&servers::steps(&[answer(Err(Unsaid::Older))], None)[1], Verdict::Doubtful, "is older");
    let nowhere = servers::unresolved(&"kiam-server:443".parse().unwrap(), &std::io::Error::other("no such host"));
    assert_step(&nowhere[1], Verdict::Bad, "kiam-server:443 has no address: no such host");
}

#[test]
fn who_supplies_the_node_is_told() {
    let supply = |answers: &[Answer], node| servers::steps(answers, node).pop().unwrap();
    let answers = [answer(Ok(ready(0)))];
    assert_step(&supply(&answers, Some("node-a")), Verdict::Good, "supplies node-a: 4 of 5 messages");
    assert_step(&supply(&answers, Some("node-b")), Verdict::Doubtful, "no server that answers supplies node-b");
    assert_step(&supply(&answers, None), Verdict::Skipped, "--no-push");
    assert_step(&supply(&[answer(Err(Unsaid::Older))], Some("node-a")), Verdict::Skipped, "not looked at");
}

#[tokio::test]
async fn without_a_certificate_no_server_is_asked() {
    let service = FakeMetadata::start(Mode::V2).await;
    let line = format!(
        "kiam doctor --cert=/nowhere --key=/nowhere --ca=/nowhere --metadata-endpoint=http://{} --node-name=node-a",
        service.address
    );
    let invocation: kiam_common::args::Invocation<AgentArgs, AgentCommand> =
        kiam_common::args::try_parse_from("agent", line.split_whitespace().map(Into::into)).unwrap();
    let kiam_common::args::Invocation::Command(AgentCommand::Doctor(args)) = invocation else { panic!("a doctor") };
    let DoctorArgs { agent, token_audience, timeout, .. } = *args;
    let doctor = Doctor { config: agent.try_into().unwrap(), token_audience, timeout, clock: Clock::system() };
    let report = doctor.examine().await;
    let verdict = |check: &str| report.steps.iter().find(|step| step.check == check).map(|step| step.verdict);
    assert_eq!((report.subject.as_str(), report.good), ("node-a", false));
    assert_eq!(verdict("certificate"), Some(Verdict::Bad));
    for skipped in ["chain", "token", "clock", "server", "supply", "interception"] {
        assert_eq!(verdict(skipped), Some(Verdict::Skipped), "{skipped}");
    }
    assert_eq!((verdict("metadata"), verdict("descriptors")), (Some(Verdict::Good), Some(Verdict::Good)));
}
