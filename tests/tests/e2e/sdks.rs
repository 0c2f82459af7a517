//! Unmodified AWS SDKs, with nothing set but the metadata endpoint, get credentials of the annotated role and of no
//! other.

use std::net::IpAddr;

use kiam_common::testing::metrics::value;
use kiam_tests::real::clients::{Found, Sdk};
use kiam_tests::real::namespace::{EXTERNAL_ID, Pod, ROLE, SESSION_NAME};
use kiam_tests::stack::Relay;
use kiam_tests::sts::Sts;

use crate::shared;
use crate::world::{BASE_ARN, World, metrics};

const RUST: Sdk = Sdk::Rust(env!("CARGO_BIN_EXE_kiam-test-client"));

/// What an SDK in this pod finds.
async fn find(world: &World, pod: &Pod, sdk: Sdk<'_>, sts: &str) -> Result<Found, String> {
    let relay = Relay::start(IpAddr::V4(pod.ip), world.agent_addr()).await.expect("a free port");
    sdk.find_credentials(&format!("http://{}", relay.addr()), sts).await
}

/// Runs a pod with this SDK, and asserts that it gets the role that it is annotated with, by way of IMDSv2.
async fn gets_its_role(sdk: Sdk<'_>, method: &str) {
    let moto = shared::moto().await.url();
    let world = World::start().await;
    let namespace = world.namespace(".*").await;
    let pod = namespace.run("reader", &[(ROLE, "reader")]).await;
    namespace.run("writer", &[(ROLE, "writer")]).await;

    let found = find(&world, &pod, sdk, moto).await.expect("credentials");
    assert_eq!(found.caller_arn, "arn:aws:sts::123456789012:assumed-role/reader/kiam-kiam");
    assert_eq!(found.method, method);
    let tokens = value(&metrics(&world.agent).await, r#"kiam_metadata_responses_total{code="200",handler="token"}"#);
    assert!(tokens >= Some(1.0), "IMDSv2 was not used: {tokens:?}");
}

#[tokio::test]
async fn boto3_gets_the_annotated_role() {
    gets_its_role(Sdk::Boto3, "iam-role").await;
}

#[tokio::test]
async fn the_aws_cli_gets_the_annotated_role() {
    gets_its_role(Sdk::AwsCli, "iam-role").await;
}

#[tokio::test]
async fn the_javascript_sdk_gets_the_annotated_role() {
    gets_its_role(Sdk::JavaScript, "").await;
}

#[tokio::test]
async fn the_rust_sdk_gets_the_annotated_role() {
    gets_its_role(RUST, "").await;
}

#[tokio::test]
async fn an_sdk_hands_its_program_exactly_what_sts_gave() {
    let sts = Sts::start().await.expect("a free port");
    let world = World::with_sts(&sts.url()).await;
    let pod = world.namespace(".*").await.run("reader", &[(ROLE, "verbatim")]).await;

    let found = find(&world, &pod, RUST, &sts.url()).await.expect("credentials");
    let document = world.ask_for(&pod, "verbatim").await;
    assert_eq!(found.access_key_id, document.field("AccessKeyId"));
    assert_eq!(found.secret_access_key, document.field("SecretAccessKey"));
    assert_eq!(found.token, document.field("Token"));
    assert_eq!(found.expiration, document.field("Expiration"));
    assert_eq!(sts.assumptions_of(&format!("{BASE_ARN}verbatim")).len(), 1, "one session serves both requests");
}

#[tokio::test]
async fn a_role_of_another_account_with_a_path_is_assumed_by_every_sdk() {
    let moto = shared::moto().await.url();
    let world = World::start().await;
    let arn = "arn:aws:iam::210987654321:role/team/data/reader";
    let pod = world.namespace(".*:role/team/.*").await.run("reader", &[(ROLE, arn)]).await;

    for sdk in [Sdk::Boto3, Sdk::AwsCli, Sdk::JavaScript, RUST] {
        let found = find(&world, &pod, sdk, moto).await.expect("credentials");
        assert_eq!(found.caller_arn, "arn:aws:sts::210987654321:assumed-role/reader/kiam-kiam", "{sdk:?}");
    }
}

#[tokio::test]
async fn session_name_and_external_id_reach_sts_as_they_are_annotated() {
    let sts = Sts::start().await.expect("a free port");
    let world = World::with_sts(&sts.url()).await;
    let annotations = [(ROLE, "/team/watchman"), (SESSION_NAME, "night shift"), (EXTERNAL_ID, "tenant:42/eu")];
    let pod = world.namespace(".*").await.run("reader", &annotations).await;

    let found = find(&world, &pod, RUST, &sts.url()).await.expect("credentials");
    assert_eq!(found.caller_arn, "arn:aws:sts::123456789012:assumed-role/watchman/kiam-night-shift");
    let calls = sts.assumptions_of(&format!("{BASE_ARN}team/watchman"));
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].session_name, "kiam-night-shift");
    assert_eq!(calls[0].external_id.as_deref(), Some("tenant:42/eu"));
    assert_eq!(calls[0].duration_seconds.as_deref(), Some("3600"));
}

#[tokio::test]
async fn an_sdk_in_a_pod_without_a_role_finds_no_credentials() {
    let world = World::start().await;
    let pod = world.namespace(".*").await.run("bystander", &[]).await;
    for sdk in [Sdk::Boto3, Sdk::AwsCli, Sdk::JavaScript, RUST] {
        let error = find(&world, &pod, sdk, shared::moto().await.url()).await.expect_err("no credentials");
        assert!(!error.is_empty(), "{sdk:?}");
    }
}
