//! The AWS SDK against a loopback server that gives one answer.

use aws_config::retry::RetryConfig;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_credential_types::provider::future::ProvideCredentials as Provided;
use aws_sdk_sts::primitives::{DateTime, DateTimeFormat};
use kiam_common::role::ExternalId;

use super::*;
use crate::fixtures;

const HOUR: Duration = Duration::from_hours(1);
const GRANTED: &str = "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult>\
    <AssumedRoleUser><AssumedRoleId>AROA:kiam</AssumedRoleId><Arn>arn:aws:sts::123456789012:assumed-role/reader/kiam</Arn>\
    </AssumedRoleUser><Credentials><AccessKeyId>ASIA1</AccessKeyId><SecretAccessKey>secret-key</SecretAccessKey>\
    <SessionToken>session-token</SessionToken><Expiration>2026-11-21T11:00:00Z</Expiration></Credentials>\
    </AssumeRoleResult></AssumeRoleResponse>";

fn sts(endpoint: &str, credentials: SharedCredentialsProvider) -> AwsSts {
    let config = aws_sdk_sts::Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::from_static("eu-west-1"))
        .credentials_provider(credentials)
        .endpoint_url(endpoint)
        .http_client(http_client())
        .retry_config(RetryConfig::disabled())
        .build();
    let clock = Clock::starting_at("2026-11-21T10:00:00Z".parse().unwrap());
    AwsSts { client: Client::from_conf(config), clock }
}

fn own_credentials() -> SharedCredentialsProvider {
    let own = aws_credential_types::Credentials::new("AKIAOWN", "own-secret-key", None, None, "test");
    SharedCredentialsProvider::new(own)
}

async fn error(status: u16, body: &str) -> StsError {
    kiam_common::tls::install_crypto_provider();
    let (endpoint, _) = fixtures::answering_once(status, body).await;
    sts(&endpoint, own_credentials()).assume_role(&fixtures::identity("reader"), HOUR).await.unwrap_err()
}

fn refusal(code: &str, message: &str) -> String {
    format!(
        "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error></ErrorResponse>"
    )
}

#[tokio::test]
async fn the_request_carries_the_whole_identity_and_the_answer_becomes_credentials() {
    kiam_common::tls::install_crypto_provider();
    let (endpoint, asked) = fixtures::answering_once(200, GRANTED).await;
    let mut identity = (*fixtures::identity("team/reader")).clone();
    identity.external_id = Some(ExternalId::parse("x-1").unwrap());
    let session = sts(&endpoint, own_credentials()).assume_role(&identity, HOUR).await.unwrap();
    let granted = session.credentials;
    assert_eq!(granted.access_key_id, "ASIA1");
    assert_eq!(granted.secret_access_key.expose(), "secret-key");
    assert_eq!(granted.session_token.expose(), "session-token");
    assert_eq!(granted.expiration.to_string(), "2026-11-21T11:00:00Z");
    let asked = asked.await.unwrap();
    for parameter in [
        "Action=AssumeRole",
        "RoleArn=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Fteam%2Freader",
        "RoleSessionName=kiam-kiam",
        "DurationSeconds=3600",
        "ExternalId=x-1",
    ] {
        assert!(asked.contains(parameter), "{parameter} in {asked}");
    }
}

#[tokio::test]
async fn errors_keep_the_words_of_sts_and_say_whose_trouble_it_is() {
    for (status, code, kind) in [
        (403, "AccessDenied", StsErrorKind::Refused),
        (400, "ValidationError", StsErrorKind::Refused),
        (404, "NoSuchEntity", StsErrorKind::Refused),
        (403, "RegionDisabledException", StsErrorKind::Refused),
        (400, "Throttling", StsErrorKind::Throttled),
        (429, "TooManyRequestsException", StsErrorKind::Throttled),
        (503, "ServiceUnavailable", StsErrorKind::Unavailable),
        (500, "InternalFailure", StsErrorKind::Unavailable),
        (403, "ExpiredToken", StsErrorKind::OwnCredentials),
        (403, "InvalidClientTokenId", StsErrorKind::OwnCredentials),
        (403, "SignatureDoesNotMatch", StsErrorKind::OwnCredentials),
    ] {
        let error = error(status, &refusal(code, "why not")).await;
        assert_eq!((error.kind, error.code.as_deref(), error.message.as_str()), (kind, Some(code), "why not"));
        assert_eq!(error.to_string(), format!("{code}: why not"));
    }
}

#[tokio::test]
async fn a_session_that_would_be_too_long_is_told_from_a_role_that_is_refused() {
    for message in [
        "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
        "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.",
    ] {
        assert_eq!(error(400, &refusal("ValidationError", message)).await.kind, StsErrorKind::TooLong);
    }
}

#[tokio::test]
async fn life_is_counted_by_the_clock_of_sts_and_is_never_longer_than_asked_for() {
    let granted = |expiration: &str| {
        Granted::builder()
            .access_key_id("ASIA1")
            .secret_access_key("secret-key")
            .session_token("session-token")
            .expiration(DateTime::from_str(expiration, DateTimeFormat::DateTime).unwrap())
            .build()
            .unwrap()
    };
    let there: Timestamp = "2026-11-21T15:00:00Z".parse().unwrap();
    for (expiration, life) in [
        ("2026-11-21T16:00:00Z", HOUR),
        ("2026-11-21T15:00:10Z", Duration::from_secs(10)),
        ("2026-11-21T15:00:00Z", Duration::ZERO),
        ("2026-11-21T11:00:00Z", Duration::ZERO),
        ("2036-11-21T15:00:00Z", HOUR),
    ] {
        let session = session(granted(expiration), there, HOUR).unwrap();
        assert_eq!((session.life, session.credentials.last_updated), (life, there), "{expiration}");
    }
}

#[tokio::test]
async fn what_is_no_answer_of_sts_is_unavailable() {
    let empty = GRANTED.replace("secret-key", "");
    for (status, body) in [(200, "<html>"), (200, ""), (502, "<html>bad gateway</html>"), (200, empty.as_str())] {
        let error = error(status, body).await;
        assert_eq!(error.kind, StsErrorKind::Unavailable, "{status} {body}: {error}");
        assert!(!error.to_string().contains("own-secret-key") && !error.to_string().contains("session-token"));
    }
}

#[tokio::test]
async fn an_sts_that_cannot_be_reached_is_unavailable() {
    kiam_common::tls::install_crypto_provider();
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let sts = sts(&format!("http://{closed}"), own_credentials());
    let error = sts.assume_role(&fixtures::identity("reader"), HOUR).await.unwrap_err();
    assert_eq!((error.kind, error.code), (StsErrorKind::Unavailable, None));
}

#[derive(Debug)]
struct NoCredentials;

impl aws_credential_types::provider::ProvideCredentials for NoCredentials {
    fn provide_credentials<'a>(&'a self) -> Provided<'a>
    where
        Self: 'a,
    {
        Provided::ready(Err(CredentialsError::not_loaded("no profile, no role")))
    }
}

#[tokio::test]
async fn a_server_without_credentials_of_its_own_says_so() {
    kiam_common::tls::install_crypto_provider();
    let sts = sts("http://127.0.0.1:1", SharedCredentialsProvider::new(NoCredentials));
    let error = sts.assume_role(&fixtures::identity("reader"), HOUR).await.unwrap_err();
    assert_eq!(error.kind, StsErrorKind::OwnCredentials, "{error}");
    assert!(error.message.contains("no profile, no role"), "{error}");
}
