//! The real STS, through the AWS SDK: its whole credential chain, regional endpoints of any partition, and
//! `AWS_ENDPOINT_URL_STS`. AssumeRole is attempted once: the vault counts, spaces and repeats attempts.

mod answered;
#[cfg(test)]
mod tests;

use std::error::Error as StdError;
use std::time::Duration;

use async_trait::async_trait;
use aws_config::retry::RetryConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, ConfigLoader, Region, SdkConfig};
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_sts::Client;
use aws_sdk_sts::error::{ProvideErrorMetadata as _, SdkError};
use aws_sdk_sts::operation::assume_role::AssumeRoleError;
use aws_sdk_sts::types::Credentials as Granted;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use jiff::Timestamp;
use kiam_common::clock::Clock;
use kiam_common::credentials::Credentials;
use kiam_common::role::{RoleArn, RoleIdentity};
use kiam_common::secret::Secret;

use crate::sts::{Session, Sts, StsError, StsErrorKind};
use answered::Answered;

/// The name of the session that `--assume-role-arn` gives the server itself.
const OWN_SESSION: &str = "kiam-server";
/// Where the SDK finds no region: the one that the global endpoint is in.
const FALLBACK_REGION: &str = "us-east-1";

/// How to reach STS.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `--region`; none for the SDK's own chain.
    pub region: Option<String>,
    /// The role that the server assumes first.
    pub assume_role: Option<RoleArn>,
}

/// STS.
pub struct AwsSts {
    client: Client,
    clock: Clock,
}

impl AwsSts {
    /// Reads the environment and the AWS configuration files.
    pub async fn new(settings: &Settings, clock: Clock) -> Self {
        let base = sdk_config(settings.region.clone()).await;
        let config = match &settings.assume_role {
            None => base,
            Some(role) => {
                let provider = AssumeRoleProvider::builder(role.as_str()).session_name(OWN_SESSION).configure(&base);
                let provider = aws_sdk_sts::config::SharedCredentialsProvider::new(provider.build().await);
                base.into_builder().credentials_provider(provider).build()
            }
        };
        let region = config.region().map(Region::as_ref).unwrap_or_default();
        tracing::info!(region, assumed_role = settings.assume_role.as_ref().map(RoleArn::as_str), "STS");
        Self::with(&config, clock)
    }

    /// With everything that the SDK needs to know given.
    pub fn with(config: &SdkConfig, clock: Clock) -> Self {
        let config = aws_sdk_sts::config::Builder::from(config).retry_config(RetryConfig::disabled()).build();
        Self { client: Client::from_conf(config), clock }
    }
}

/// The HTTP client of everything that talks to AWS: rustls with ring, trusting the system's roots.
pub fn http_client() -> SharedHttpClient {
    aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https()
}

async fn sdk_config(region: Option<String>) -> SdkConfig {
    let given = loader();
    let found = match region {
        Some(region) => given.region(Region::new(region)).load().await,
        None => given.load().await,
    };
    match found.region() {
        Some(_) => found,
        // Loaded anew, as some of the credential chain's own providers need a region too.
        None => loader().region(Region::from_static(FALLBACK_REGION)).load().await,
    }
}

fn loader() -> ConfigLoader {
    // For where the server's own credentials come from; the vault has a timeout of its own.
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(3))
        .operation_attempt_timeout(Duration::from_secs(8))
        .operation_timeout(Duration::from_secs(20))
        .build();
    aws_config::defaults(BehaviorVersion::v2026_01_12())
        .http_client(http_client())
        .timeout_config(timeouts)
        .retry_config(RetryConfig::standard())
}

#[async_trait]
impl Sts for AwsSts {
    async fn assume_role(&self, identity: &RoleIdentity, duration: Duration) -> Result<Session, StsError> {
        let answered = Answered::default();
        let request = self
            .client
            .assume_role()
            .role_arn(identity.arn.as_str())
            .role_session_name(identity.session_name.as_str())
            .set_external_id(identity.external_id.as_ref().map(|id| id.as_str().into()))
            .duration_seconds(i32::try_from(duration.as_secs()).unwrap_or(i32::MAX))
            .customize()
            .interceptor(answered.clone());
        let answer = request.send().await.map_err(|error| classified(&error))?;
        let issued_at = answered.date().unwrap_or_else(|| self.clock.now());
        let granted = answer.credentials.ok_or_else(|| StsError::unavailable("STS answered without credentials"))?;
        session(granted, issued_at, duration)
    }
}

/// Judged by the clock of STS. A session never lives longer than was asked for, whatever that clock shows.
fn session(granted: Granted, issued_at: Timestamp, asked: Duration) -> Result<Session, StsError> {
    let expiration = Timestamp::from_second(granted.expiration.secs())
        .map_err(|_| StsError::unavailable("STS answered with an expiration out of range"))?;
    if granted.access_key_id.is_empty() || granted.secret_access_key.is_empty() || granted.session_token.is_empty() {
        return Err(StsError::unavailable("STS answered with empty credentials"));
    }
    let life = Duration::try_from(expiration.duration_since(issued_at)).unwrap_or_default();
    let credentials = Credentials {
        access_key_id: granted.access_key_id,
        secret_access_key: Secret::new(granted.secret_access_key),
        session_token: Secret::new(granted.session_token),
        expiration,
        last_updated: issued_at,
    };
    Ok(Session { credentials, life: life.min(asked) })
}

fn classified(error: &SdkError<AssumeRoleError, HttpResponse>) -> StsError {
    if let Some(answer) = error.as_service_error() {
        let status = error.raw_response().map_or(0, |response| response.status().as_u16());
        let code = answer.code().unwrap_or_default();
        let message = answer.message().unwrap_or("STS gave no message").to_owned();
        return StsError {
            kind: kind(code, &message, status),
            code: Some(if code.is_empty() { format!("HTTP {status}") } else { code.into() }),
            message,
        };
    }
    let own_credentials = causes(error).any(<dyn StdError>::is::<CredentialsError>);
    let kind = if own_credentials { StsErrorKind::OwnCredentials } else { StsErrorKind::Unavailable };
    let message = causes(error).map(ToString::to_string).collect::<Vec<_>>().join(": ");
    StsError { kind, code: None, message }
}

/// By the codes of the STS API reference ("Common Errors") and AssumeRole's own.
fn kind(code: &str, message: &str, status: u16) -> StsErrorKind {
    match code {
        // The role's MaxSessionDuration, or the limit of role chaining: STS has no code of their own for them.
        "ValidationError" if message.contains("DurationSeconds exceeds") => StsErrorKind::TooLong,
        "ExpiredToken"
        | "ExpiredTokenException"
        | "IncompleteSignature"
        | "InvalidClientTokenId"
        | "InvalidSignatureException"
        | "MissingAuthenticationToken"
        | "RequestExpired"
        | "SignatureDoesNotMatch"
        | "UnrecognizedClientException" => StsErrorKind::OwnCredentials,
        "RequestLimitExceeded" | "TooManyRequestsException" => StsErrorKind::Throttled,
        _ if code.contains("Throttl") => StsErrorKind::Throttled,
        // No code at all means that it was not STS that answered.
        "" | "RequestTimeout" => StsErrorKind::Unavailable,
        _ if status >= 500 => StsErrorKind::Unavailable,
        _ => StsErrorKind::Refused,
    }
}

fn causes<'e>(error: &'e (dyn StdError + 'static)) -> impl Iterator<Item = &'e (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error| (*error).source())
}
