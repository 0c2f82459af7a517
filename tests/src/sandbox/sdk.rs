//! What an application in a pod does: it lets the AWS SDK find credentials, with nothing set but the metadata endpoint,
//! and calls AWS with them.

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use aws_config::imds::client::error::ImdsError;
use aws_config::imds::credentials::ImdsCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_sdk_sts::config::{BehaviorVersion, Credentials, ProvideCredentials, Region};
use aws_sdk_sts::error::DisplayErrorContext;
use aws_smithy_http_client::Builder;
use http::{Request, StatusCode};
use jiff::Timestamp;
use tokio::time::Instant;

use crate::real::http::{LOCALHOST, try_send};
use crate::stack::REGION;

/// Longer than the five seconds that a pod may have to wait until the server knows it, so that its answer is seen.
const PATIENCE: Duration = Duration::from_secs(8);

/// What came of asking for credentials.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    /// How long the SDK took to find credentials, or to give up.
    pub(super) took: Duration,
    pub(super) outcome: Result<Granted, Refused>,
}

/// Credentials, as AWS sees whoever has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Granted {
    /// `arn:aws:sts::<account>:assumed-role/<role>/<session>`.
    pub(super) identity: String,
    pub(super) access_key_id: String,
    pub(super) expires: Option<Timestamp>,
}

/// No credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    /// What the agent answered; none if it did not.
    pub(super) status: Option<u16>,
    pub(super) why: String,
}

/// Asks as a fresh process does, without anything cached. `metadata` is the pod's relay.
pub(super) async fn ask(metadata: SocketAddr, sts_url: &str) -> Asked {
    let began = Instant::now();
    let found = find(metadata).await;
    let took = began.elapsed();
    let outcome = match found {
        Ok(credentials) => use_them(credentials, sts_url).await,
        Err(refused) => Err(refused),
    };
    Asked { took, outcome }
}

async fn find(metadata: SocketAddr) -> Result<Credentials, Refused> {
    let config = ProviderConfig::without_region().with_http_client(Builder::new().build_http());
    let client = aws_config::imds::Client::builder()
        .configure(&config)
        .endpoint(format!("http://{metadata}"))
        .map_err(|error| Refused { status: None, why: error.to_string() })?
        .max_attempts(1)
        .read_timeout(PATIENCE)
        .operation_timeout(PATIENCE)
        .operation_attempt_timeout(PATIENCE)
        .build();
    let provider = ImdsCredentialsProvider::builder().configure(&config).imds_client(client).build();
    match provider.provide_credentials().await {
        Ok(credentials) => Ok(credentials),
        Err(error) => Err(explained(&error, metadata).await),
    }
}

async fn use_them(credentials: Credentials, sts_url: &str) -> Result<Granted, Refused> {
    let access_key_id = credentials.access_key_id().to_owned();
    let expires = credentials.expiry().and_then(|expiry| Timestamp::try_from(expiry).ok());
    let config = aws_sdk_sts::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static(REGION))
        .endpoint_url(sts_url)
        .http_client(Builder::new().build_http())
        .credentials_provider(credentials)
        .build();
    match aws_sdk_sts::Client::from_conf(config).get_caller_identity().send().await {
        Ok(caller) => Ok(Granted { identity: caller.arn().unwrap_or_default().into(), access_key_id, expires }),
        Err(error) => Err(Refused { status: None, why: DisplayErrorContext(error).to_string() }),
    }
}

/// The agent's own words. The SDK keeps the answer to every error but 404, so that one is asked for again.
async fn explained(error: &(dyn Error + Send + Sync + 'static), metadata: SocketAddr) -> Refused {
    if let Some(ImdsError::ErrorResponse(answer)) = error.source().and_then(|cause| cause.downcast_ref::<ImdsError>()) {
        let body = answer.response().body().bytes().unwrap_or_default();
        return refused(answer.response().status().as_u16(), &String::from_utf8_lossy(body));
    }
    let list = Request::get("/latest/meta-data/iam/security-credentials/").body(String::new());
    match try_send(LOCALHOST, metadata, list.expect("the path is sound")).await {
        Ok(answer) if answer.status != StatusCode::OK => refused(answer.status.as_u16(), &answer.body),
        Ok(_) | Err(_) => Refused { status: None, why: DisplayErrorContext(error).to_string() },
    }
}

/// Reads `{"Code": …, "Message": …}`.
fn refused(status: u16, body: &str) -> Refused {
    let body: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    let text = |field: &str| body[field].as_str().unwrap_or_default();
    Refused { status: Some(status), why: format!("{}: {}", text("Code"), text("Message")) }
}
