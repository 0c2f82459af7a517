//! STS as the real AWS SDK sees it.

use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_sts::Client;
use aws_sdk_sts::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_sts::error::ProvideErrorMetadata;
use aws_smithy_http_client::Builder;
use http::StatusCode;
use kiam_tests::sts::{Fault, OWN_ACCESS_KEY, OWN_SECRET_KEY, Refusal, Role, Scope, Sts};

const READER: &str = "arn:aws:iam::123456789012:role/reader";
const WRITER: &str = "arn:aws:iam::123456789012:role/team/writer";

fn client(sts: &Sts, access_key: &str, secret_key: &str, token: Option<&str>) -> Client {
    let config = aws_sdk_sts::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static("eu-west-1"))
        .endpoint_url(sts.url())
        .http_client(Builder::new().build_http())
        .credentials_provider(Credentials::new(access_key, secret_key, token.map(Into::into), None, "test"))
        .retry_config(RetryConfig::disabled())
        .timeout_config(TimeoutConfig::builder().operation_timeout(Duration::from_millis(300)).build())
        .build();
    Client::from_conf(config)
}

fn own_client(sts: &Sts) -> Client {
    client(sts, OWN_ACCESS_KEY, OWN_SECRET_KEY, None)
}

/// The error code of assuming a role; `ok` if that worked, `none` if there was no answer that one could read.
async fn assume(client: &Client, role: &str, session: &str, seconds: i32, external_id: Option<&str>) -> String {
    let call = client.assume_role().role_arn(role).role_session_name(session).duration_seconds(seconds);
    match call.set_external_id(external_id.map(Into::into)).send().await {
        Ok(_) => "ok".into(),
        Err(error) => error.code().unwrap_or("none").into(),
    }
}

#[tokio::test]
async fn assumes_a_role_and_knows_the_session_afterwards() {
    let sts = Sts::start().await.unwrap();
    let assumed = own_client(&sts).assume_role().role_arn(WRITER).role_session_name("kiam-kiam").send().await.unwrap();
    let credentials = assumed.credentials().unwrap();
    assert!(credentials.access_key_id().starts_with("ASIA"));
    let session =
        client(&sts, credentials.access_key_id(), credentials.secret_access_key(), Some(credentials.session_token()));
    let identity = session.get_caller_identity().send().await.unwrap();
    assert_eq!(identity.arn(), Some("arn:aws:sts::123456789012:assumed-role/writer/kiam-kiam"));
    assert_eq!(identity.account(), Some("123456789012"));
    let calls = sts.assumptions_of(WRITER);
    assert_eq!((calls.len(), calls[0].session_name.as_str()), (1, "kiam-kiam"));
    assert_eq!(calls[0].caller_access_key, OWN_ACCESS_KEY);
    assert_eq!(sts.issued()[0].access_key_id, credentials.access_key_id());
}

#[tokio::test]
async fn parameters_are_judged_by_the_rules_of_the_real_service() {
    let sts = Sts::start().await.unwrap();
    let client = own_client(&sts);
    for (role, session, seconds, external_id) in [
        (READER, "x", 3600, None),
        (READER, "kiam kiam", 3600, None),
        (READER, "kiam", 899, None),
        (READER, "kiam", 43_201, None),
        (READER, "kiam", 3600, Some("a")),
        (READER, "kiam", 3600, Some("not allowed")),
        ("arn:aws:iam::123456789012:user/someone", "kiam", 3600, None),
    ] {
        let code = assume(&client, role, session, seconds, external_id).await;
        assert_eq!(code, "ValidationError", "{role} {session} {seconds} {external_id:?}");
    }
    assert_eq!(assume(&client, READER, "kiam", 43_200, Some("a-b:c/d")).await, "ok");
}

#[tokio::test]
async fn a_role_can_distrust_ask_for_an_external_id_and_limit_the_session() {
    let sts = Sts::start().await.unwrap();
    let client = own_client(&sts);
    sts.set_role(READER, Role { trusted: false, ..Role::default() });
    assert_eq!(assume(&client, READER, "kiam", 3600, None).await, "AccessDenied");
    sts.set_role(WRITER, Role { external_id: Some("shop".into()), ..Role::default() });
    assert_eq!(assume(&client, WRITER, "kiam", 3600, None).await, "AccessDenied");
    assert_eq!(assume(&client, WRITER, "kiam", 3600, Some("shop")).await, "ok");
    sts.set_role(READER, Role { max_session: Duration::from_hours(1), ..Role::default() });
    assert_eq!(assume(&client, READER, "kiam", 3601, None).await, "ValidationError");
}

#[tokio::test]
async fn a_role_session_may_chain_for_an_hour_only() {
    let sts = Sts::start().await.unwrap();
    assert_eq!(assume(&own_client(&sts), READER, "kiam", 3600, None).await, "ok");
    let issued = &sts.issued()[0];
    let chained = client(&sts, &issued.access_key_id, &issued.secret_access_key, Some(&issued.session_token));
    assert_eq!(assume(&chained, WRITER, "kiam", 3600, None).await, "ok");
    assert_eq!(assume(&chained, WRITER, "kiam", 3601, None).await, "ValidationError");
}

#[tokio::test]
async fn nobody_calls_with_an_unknown_or_expired_key() {
    let sts = Sts::start().await.unwrap();
    let stranger = client(&sts, "AKIASTRANGER", "secret", None);
    assert_eq!(assume(&stranger, READER, "kiam", 3600, None).await, "InvalidClientTokenId");
    sts.set_fault(Scope::Everyone, Fault::SessionLife(Duration::ZERO));
    assert_eq!(assume(&own_client(&sts), READER, "kiam", 3600, None).await, "ok");
    let issued = &sts.issued()[0];
    let expired = client(&sts, &issued.access_key_id, &issued.secret_access_key, Some(&issued.session_token));
    assert_eq!(assume(&expired, READER, "kiam", 3600, None).await, "ExpiredToken");
}

#[tokio::test]
async fn faults_befall_the_calls_in_their_scope_as_often_as_told() {
    let sts = Sts::start().await.unwrap();
    let client = own_client(&sts);
    for (fault, code) in [
        (Fault::Refuse(Refusal::throttling()), "Throttling"),
        (Fault::Refuse(Refusal::server_error(StatusCode::SERVICE_UNAVAILABLE)), "ServiceUnavailable"),
        (Fault::MalformedXml, "none"),
        (Fault::Reset, "none"),
        (Fault::Hang, "none"),
    ] {
        sts.set_fault_times(Scope::Role(READER.into()), fault.clone(), 1);
        assert_eq!(assume(&client, WRITER, "kiam", 3600, None).await, "ok", "{fault:?}");
        assert_eq!(assume(&client, READER, "kiam", 3600, None).await, code, "{fault:?}");
        assert_eq!(assume(&client, READER, "kiam", 3600, None).await, "ok", "{fault:?}");
    }
    sts.set_fault(Scope::Everyone, Fault::Reset);
    assert_eq!(assume(&client, WRITER, "kiam", 3600, None).await, "none");
    sts.clear_faults();
    assert_eq!(assume(&client, WRITER, "kiam", 3600, None).await, "ok");
}
