//! The AWS SDK for Rust as a pod would use it: no configuration, the default chain, one STS call.
//!
//! Usage: `kiam-test-client STS-ENDPOINT`. Prints one JSON line; exit 3 when the chain finds no credentials. All clients
//! in this directory keep the same contract, described in `aws_cli.sh`.

use std::process::ExitCode;

use aws_config::{BehaviorVersion, Region};
use aws_sdk_sts::config::ProvideCredentials;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use kiam_common::credentials::format_timestamp;

#[tokio::main]
async fn main() -> ExitCode {
    let endpoint = std::env::args().nth(1).expect("usage: kiam-test-client STS-ENDPOINT");
    // This workspace builds the SDK without its default HTTP client.
    let http = aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
    let config =
        aws_config::defaults(BehaviorVersion::latest()).http_client(http).region(Region::new("us-east-1")).load().await;
    let provider = config.credentials_provider().expect("the default chain has a provider");
    let credentials = match provider.provide_credentials().await {
        Ok(credentials) => credentials,
        Err(error) => {
            println!("{}", serde_json::json!({"error": aws_sdk_sts::error::DisplayErrorContext(error).to_string()}));
            return ExitCode::from(3);
        }
    };
    let sts = aws_sdk_sts::config::Builder::from(&config).endpoint_url(endpoint).build();
    let identity = aws_sdk_sts::Client::from_conf(sts).get_caller_identity().send().await.expect("STS answers");
    let expiration = credentials.expiry().and_then(|expiry| jiff::Timestamp::try_from(expiry).ok());
    println!(
        "{}",
        serde_json::json!({
            "access_key_id": credentials.access_key_id(),
            "secret_access_key": credentials.secret_access_key(),
            "token": credentials.session_token(),
            "expiration": expiration.map(format_timestamp),
            "caller_arn": identity.arn(),
        })
    );
    ExitCode::SUCCESS
}
