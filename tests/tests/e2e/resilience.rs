//! Programs that come late, go away and come back; certificates that change; ends that lose nothing.

use std::time::Duration;

use http::{Request, StatusCode};
use kiam_common::testing::Pki;
use kiam_tests::imds::Imds;
use kiam_tests::real::http::{LOCALHOST, get};
use kiam_tests::real::kube_apiserver::KubeApiServer;
use kiam_tests::real::namespace::{Namespace, PERMITTED, Pod, ROLE};
use kiam_tests::real::{eventually, free_port};
use kiam_tests::stack::Program;
use kiam_tests::sts::{Fault, Scope, Sts};

use crate::shared;
use crate::world::{BASE_ARN, CREDENTIALS, Identities, Logs, World, agent, server, wait_until_ready};

/// What this agent answers when the pod asks for the role `reader`.
async fn ask_for_reader(agent: &Program, pod: &Pod) -> StatusCode {
    get(pod.ip.into(), agent.addresses().main, &format!("{CREDENTIALS}reader")).await.status
}

async fn is_served(agent: &Program, pod: &Pod) {
    eventually("the pod to be served", async || (ask_for_reader(agent, pod).await == StatusCode::OK).then_some(()))
        .await;
}

#[tokio::test]
async fn an_agent_that_is_there_before_its_server_serves_once_the_server_is_there() {
    let (kubernetes, sts) = (shared::kubernetes().await, Sts::start().await.expect("a free port"));
    let (identities, imds, logs) = (Identities::new(), Imds::start().await.expect("a free port"), Logs::new());
    let address = format!("127.0.0.1:{}", free_port());
    let agent = logs.start("agent", &agent(&address, &imds, &identities.agent)).await;
    let client = kubernetes.client().await.expect("the API server is there");
    let pod = Namespace::create(client, &[(PERMITTED, ".*")]).await.run("reader", &[(ROLE, "reader")]).await;

    let ready = get(LOCALHOST, agent.addresses().ops, "/ready").await;
    assert_eq!((ready.status, ready.body.as_str()), (StatusCode::SERVICE_UNAVAILABLE, "server\n"));
    let answer = get(pod.ip.into(), agent.addresses().main, CREDENTIALS).await;
    assert_eq!((answer.status, answer.field("Code").as_str()), (StatusCode::SERVICE_UNAVAILABLE, "ServerUnreachable"));
    assert!(!answer.header("retry-after").is_empty());

    let server = server(&kubernetes.server_kubeconfig(), &sts.url(), &identities.server).flag("--bind", &address);
    let _server = logs.start("server", &server).await;
    is_served(&agent, &pod).await;
    wait_until_ready(&agent).await;
}

#[tokio::test]
async fn an_agent_whose_server_has_no_address_yet_says_so_and_stays() {
    let (identities, imds, logs) = (Identities::new(), Imds::start().await.expect("a free port"), Logs::new());
    let agent = logs.start("agent", &agent("server.invalid:443", &imds, &identities.agent)).await;
    let answer = get(LOCALHOST, agent.addresses().main, CREDENTIALS).await;
    assert_eq!((answer.status, answer.field("Code").as_str()), (StatusCode::SERVICE_UNAVAILABLE, "ServerUnreachable"));
    assert_eq!(get(LOCALHOST, agent.addresses().main, "/ping").await.status, StatusCode::OK);
    assert_eq!(get(LOCALHOST, agent.addresses().ops, "/live").await.status, StatusCode::OK);
}

#[tokio::test]
async fn agents_go_on_when_a_killed_server_is_back() {
    let sts = Sts::start().await.expect("a free port");
    let mut world = World::with_sts(&sts.url()).await;
    let namespace = world.namespace(".*").await;
    let pod = namespace.run("reader", &[(ROLE, "reader")]).await;
    is_served(&world.agent, &pod).await;

    world.server.kill().await.expect("the server is killed");
    let next = namespace.run("next", &[(ROLE, "reader")]).await;
    // A request that is under way while there is no server waits for it.
    let bind = world.server.addresses().main.to_string();
    let (status, ()) = tokio::join!(ask_for_reader(&world.agent, &pod), async {
        let again =
            server(&world.kubernetes.server_kubeconfig(), &sts.url(), &world.identities.server).flag("--bind", bind);
        world.server = world.logs.start("server-again", &again).await;
    });
    assert_eq!(status, StatusCode::OK);
    is_served(&world.agent, &next).await;
}

#[tokio::test]
async fn the_watch_survives_a_restart_of_the_api_server() {
    let mut kubernetes = KubeApiServer::start().await;
    let sts = Sts::start().await.expect("a free port");
    let (identities, imds, logs) = (Identities::new(), Imds::start().await.expect("a free port"), Logs::new());
    let server = logs.start("server", &server(&kubernetes.server_kubeconfig(), &sts.url(), &identities.server)).await;
    let agent = logs.start("agent", &agent(server.addresses().main, &imds, &identities.agent)).await;
    wait_until_ready(&agent).await;
    let client = kubernetes.client().await.expect("the API server is there");
    let namespace = Namespace::create(client, &[(PERMITTED, ".*")]).await;
    let pod = namespace.run("reader", &[(ROLE, "reader")]).await;
    is_served(&agent, &pod).await;

    kubernetes.stop();
    assert_eq!(ask_for_reader(&agent, &pod).await, StatusCode::OK, "what is known is served meanwhile");
    kubernetes.resume().await;
    let next = namespace.run("next", &[(ROLE, "reader")]).await;
    is_served(&agent, &next).await;
    namespace.delete(&pod).await;
    eventually("the deletion to be seen", async || {
        (ask_for_reader(&agent, &pod).await == StatusCode::NOT_FOUND).then_some(())
    })
    .await;
}

#[tokio::test]
async fn certificates_and_their_authority_change_without_a_failed_request() {
    let sts = Sts::start().await.expect("a free port");
    let mut world = World::with_sts(&sts.url()).await;
    let pod = world.namespace(".*").await.run("reader", &[(ROLE, "reader")]).await;
    is_served(&world.agent, &pod).await;
    let agent = world.agent.addresses().main;
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let load = tokio::spawn(async move {
        let mut answers = Vec::new();
        while stopped.try_recv().is_err() {
            answers.push(get(pod.ip.into(), agent, &format!("{CREDENTIALS}reader")).await.status);
        }
        answers
    });

    for (round, step) in
        [(1, Pki::announce_authority as fn(&mut Pki)), (2, Pki::switch_authority), (3, Pki::forget_authorities)]
    {
        step(&mut world.identities.pki);
        world.identities.pki.reissue(&world.identities.server, &["127.0.0.1", "localhost"]);
        world.identities.pki.reissue(&world.identities.agent, &["agent"]);
        eventually("both programs to reload", async || {
            (world.logs.read().matches("certificates reloaded").count() >= 2 * round).then_some(())
        })
        .await;
    }
    stop.send(()).expect("the load runs");
    let answers = load.await.expect("the load ends");
    let failed: Vec<_> = answers.iter().filter(|status| **status != StatusCode::OK).collect();
    assert!(failed.is_empty() && answers.len() > 100, "{} of {} failed: {failed:?}", failed.len(), answers.len());
}

#[tokio::test]
async fn sigterm_lets_requests_finish_and_ends_with_zero() {
    let sts = Sts::start().await.expect("a free port");
    let arn = format!("{BASE_ARN}patient");
    sts.set_fault(Scope::Role(arn.clone()), Fault::Delay(Duration::from_secs(1)));
    let mut world = World::with_sts(&sts.url()).await;
    let pod = world.namespace(".*").await.run("reader", &[(ROLE, "patient")]).await;
    let request = Request::get(format!("{CREDENTIALS}patient")).body(String::new()).expect("sound");
    let agent = world.agent_addr();
    let answer = tokio::spawn(async move { kiam_tests::real::http::send(pod.ip.into(), agent, request).await.status });
    eventually("the request to reach the server", async || {
        world.logs.read().contains("GetPodCredentials").then_some(())
    })
    .await;

    let (server, agent) = tokio::join!(world.server.stop(), world.agent.stop());
    assert_eq!(answer.await.expect("an answer"), StatusCode::OK);
    for status in [server, agent] {
        assert_eq!(status.expect("it ends").code(), Some(0));
    }
}
