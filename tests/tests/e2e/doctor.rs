//! `kiam-agent doctor` beside running programs.

use std::fs;

use kiam_tests::real::eventually;
use kiam_tests::real::program::Invocation;
use serde_json::Value;
use tokio::net::TcpListener;

use crate::emulated::Emulated;
use crate::world::{PROGRAMS, with_identity};

/// A doctor with an ordinary agent's flags.
fn doctor(around: &Emulated, server: impl ToString) -> Invocation {
    with_identity(Invocation::new(PROGRAMS, &["agent", "doctor"]), &around.identities.agent)
        .flag("--server-address", server)
        .flag("--metadata-endpoint", around.imds.url())
        .flag("--node-name", "node-a")
}

/// The first step of a check.
fn step(doctor: &Invocation, check: &str) -> Value {
    // Without a log, which `run` would put behind the JSON.
    let (_, said) = doctor.clone().flag("--json", true).flag("--level", "error").run();
    let report: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
    let steps = report["steps"].as_array().expect("steps");
    steps.iter().find(|step| step["check"] == check).expect("the step").clone()
}

fn assert_step(doctor: &Invocation, check: &str, verdict: &str, words: &str) {
    let step = step(doctor, check);
    assert!(step["verdict"] == verdict && step["found"].as_str().unwrap().contains(words), "{words}: {step}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_on_which_all_is_well_has_ticks() {
    let around = Emulated::start().await;
    let (server, _agent) = around.run(around.server()).await;
    let doctor = doctor(&around, server.addresses().main);
    let text = eventually("the agent to be supplied", async || {
        let (code, text) = doctor.run();
        (code == 0 && text.contains("✓ supply")).then_some(text)
    })
    .await;
    for check in ["certificate", "chain", "clock", "server", "supply", "metadata", "descriptors"] {
        assert!(text.contains(&format!("✓ {check}")), "{check} in {text}");
    }
    assert!(text.starts_with("node-a\n") && text.ends_with("nothing here keeps the agent from its work\n"), "{text}");
    assert_eq!(doctor.clone().by_environment().run().0, 0);
    assert_step(&doctor.clone().flag("--node-name", "node-b"), "supply", "doubtful", "supplies node-b");
    assert_step(&doctor.flag("--push", false), "supply", "skipped", "--no-push");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_is_named_and_makes_it_fail() {
    let around = Emulated::start().await;
    let server = around.logs.start("server", &around.server()).await;
    let well = doctor(&around, server.addresses().main);
    let nobody = TcpListener::bind("127.0.0.1:0").await.expect("a free port").local_addr().expect("an address");
    let expired = around.identities.pki.issue_expired("expired", &["agent"]);
    let token = around.logs.path().join("token");
    fs::write(&token, "hidden-secret").expect("the token can be written");
    for (doctor, check, words) in [
        (well.clone().flag("--server-address", nobody), "server", "refused"),
        (well.clone().flag("--metadata-endpoint", format!("http://{nobody}")), "metadata", "cannot be reached"),
        (with_identity(well.clone(), &expired), "certificate", "ended 2001-01-02"),
        (well.clone().flag("--ca", "/nowhere/ca.crt"), "certificate", "--ca /nowhere/ca.crt: no such file"),
        (well.clone().flag("--server-token-file", token.display()), "token", "no JSON Web Token"),
    ] {
        let (code, text) = doctor.run();
        assert_eq!(code, 1, "{text}");
        assert!(text.contains(&format!("✗ {check}")) && text.contains(words), "{words:?}: {text}");
        assert!(!text.contains("hidden-secret"), "{text}");
    }
    let hanging = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let late = well.clone().flag("--server-address", hanging.local_addr().expect("an address"));
    let late = late.flag("--gateway-timeout-creation", "1m").flag("--timeout", "200ms");
    assert_step(&late, "server", "bad", "no answer within 200ms");
    assert_step(&well.flag("--max-connections", 1_000_000), "descriptors", "doubtful", "there is room for");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_audience_is_the_servers() {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    let around = Emulated::start().await;
    let token = around.logs.path().join("token");
    let claims = URL_SAFE_NO_PAD.encode(r#"{"aud": ["kiam-server.cluster-a"], "exp": 4102444800}"#);
    fs::write(&token, format!("head.{claims}.signature")).expect("the token can be written");
    let doctor = doctor(&around, "127.0.0.1:1").flag("--server-token-file", token.display());
    assert_step(&doctor, "token", "bad", "not for \"kiam-server\"");
    assert_step(&doctor.flag("--token-audience", "kiam-server.cluster-a"), "token", "good", "it is for");
}
