//! `kiam-server certs generate`, and the programs with what it makes.

use std::path::Path;

use http::StatusCode;
use kiam_common::args::TlsArgs;
use kiam_tests::real::eventually;
use kiam_tests::real::program::Invocation;

use crate::emulated::{Emulated, ask_for};
use crate::world::{PROGRAMS, with_identity};

fn generate(directory: &Path) -> Invocation {
    Invocation::new(PROGRAMS, &["server", "certs", "generate"]).flag("--out", directory.display())
}

fn files(directory: &Path, name: &str) -> TlsArgs {
    let file = |name: String| directory.join(name);
    TlsArgs { cert: file(format!("{name}.pem")), key: file(format!("{name}-key.pem")), ca: file("ca.pem".into()) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_programs_start_with_them_and_talk_and_operators_are_heard() {
    let around = Emulated::start().await;
    let directory = around.logs.path().join("certs");
    let (code, said) = generate(&directory).run();
    assert!(code == 0 && said.contains("server-key.pem") && said.contains("--key of servers"), "{said}");

    let server = with_identity(around.server(), &files(&directory, "server"));
    let server = around.logs.start("server", &server).await;
    let agent = with_identity(around.agent(server.addresses().main), &files(&directory, "agent"));
    let agent = around.logs.start("agent", &agent).await;
    let pod = around.run_pod("reader", "reader");
    assert_eq!(ask_for(agent.addresses().main, pod, "reader").await.status, StatusCode::OK);
    for name in ["operator", "server"] {
        let status = with_identity(Invocation::new(PROGRAMS, &["server", "status"]), &files(&directory, name));
        let status = status.flag("--server-address", server.addresses().main);
        eventually("the agent's stream", async || status.run().1.contains("node-a").then_some(())).await;
    }

    let (code, said) = generate(&directory).run();
    assert!(code == 1 && said.lines().count() == 1 && said.contains("ca.pem is there already"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_and_days_are_what_was_asked_for() {
    let around = Emulated::start().await;
    let directory = around.logs.path().join("certs");
    let generate = generate(&directory).flag("--server-name", "kiam.example,127.0.0.9").flag("--days", 2);
    assert_eq!(generate.by_environment().run().0, 0);
    let server = with_identity(around.server(), &files(&directory, "server")).flag("--bind", "127.0.0.9:0");
    let server = around.logs.start("server", &server).await;
    let doctor = with_identity(Invocation::new(PROGRAMS, &["agent", "doctor"]), &files(&directory, "agent"));
    let doctor =
        doctor.flag("--server-address", server.addresses().main).flag("--metadata-endpoint", around.imds.url());
    let ready = format!("{} is ready", server.addresses().main);
    let said = eventually("the server to be ready", async || {
        let (_, said) = doctor.run();
        said.contains(&ready).then_some(said)
    })
    .await;
    assert!(said.contains("? certificate") && said.contains("it ends in 2d "), "{said}");
}
