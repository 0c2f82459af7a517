//! The AWS SDK for Rust as a long-lived pod would use it: one client, and an STS call again and again until it is
//! killed.
//!
//! Usage: `kiam-test-loop STS-ENDPOINT`. Panics at the first call that fails.

use std::time::Duration;

use aws_config::{BehaviorVersion, Region};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};

#[tokio::main]
async fn main() {
    let endpoint = std::env::args().nth(1).expect("usage: kiam-test-loop STS-ENDPOINT");
    // This workspace builds the SDK without its default HTTP client.
    let http = aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
    let config =
        aws_config::defaults(BehaviorVersion::latest()).http_client(http).region(Region::new("us-east-1")).load().await;
    let sts = aws_sdk_sts::config::Builder::from(&config).endpoint_url(endpoint).build();
    let sts = aws_sdk_sts::Client::from_conf(sts);
    loop {
        sts.get_caller_identity().send().await.expect("credentials that STS takes");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
