//! No secret access key and no session token is anywhere but in the answer to the pod that may have it: looked for by
//! value, with the logs at their most talkative.

use http::StatusCode;
use kiam_common::testing::metrics::value;
use kiam_tests::imds::NODE_SECRET;
use kiam_tests::real::eventually;
use kiam_tests::real::namespace::ROLE;
use kiam_tests::sts::{Fault, OWN_SECRET_KEY, Refusal, Scope, Sts};

use crate::world::{BASE_ARN, CREDENTIALS, World, metrics};

#[tokio::test]
async fn no_secret_is_in_any_log_metric_event_or_error() {
    let sts = Sts::start().await.expect("a free port");
    let arn = format!("{BASE_ARN}denied");
    sts.set_fault(Scope::Role(arn.clone()), Fault::Refuse(Refusal::access_denied("kiam-server", &arn)));
    let world = World::with_sts(&sts.url()).await;
    let namespace = world.namespace(".*:role/(reader|denied)").await;
    let reader = namespace.run("reader", &[(ROLE, "reader")]).await;
    let forbidden = namespace.run("forbidden", &[(ROLE, "writer")]).await;
    let denied = namespace.run("denied", &[(ROLE, "denied")]).await;

    let put = http::Request::put("/latest/api/token").header("x-aws-ec2-metadata-token-ttl-seconds", "60");
    let session = world.send(&reader, put.body(String::new()).expect("sound")).await.body;
    let document = world.ask_for(&reader, "reader").await;
    assert_eq!(document.status, StatusCode::OK);
    let mut everything = String::new();
    for (pod, path) in [
        (&reader, CREDENTIALS.to_owned()),
        (&reader, format!("{CREDENTIALS}writer")),
        (&reader, "/latest/nonsense".to_owned()),
        (&forbidden, format!("{CREDENTIALS}writer")),
        (&denied, format!("{CREDENTIALS}denied")),
    ] {
        everything += &world.ask(pod, &path).await.body;
    }
    // Both refusals have reached the pods' events.
    eventually("the events", async || {
        let posted = value(&metrics(&world.server).await, "kiam_k8s_events_posted_total");
        (posted >= Some(2.0)).then_some(())
    })
    .await;
    for pod in [&reader, &forbidden, &denied] {
        everything += &serde_json::to_string(&namespace.events(pod).await).expect("JSON");
    }
    for program in [&world.server, &world.agent] {
        everything += &metrics(program).await;
    }
    everything += &world.logs.read();

    let issued = sts.issued();
    assert!(!issued.is_empty());
    let of_sts = issued.iter().flat_map(|given| [given.secret_access_key.as_str(), given.session_token.as_str()]);
    for secret in of_sts.chain([OWN_SECRET_KEY, NODE_SECRET, session.as_str()]) {
        assert!(!everything.contains(secret), "{secret} is told");
    }
    assert!(everything.contains(&reader.ip.to_string()), "the logs do tell who asked");
}
