//! Instance metadata as the real AWS SDK sees it, and the rules of session tokens.

use aws_config::imds::Client;
use aws_config::provider_config::ProviderConfig;
use aws_smithy_http_client::Builder;
use http::{HeaderName, Method, Request, StatusCode};
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper_util::rt::TokioExecutor;
use kiam_tests::imds::{INSTANCE_ID, Imds, NODE_ROLE};

const TTL: &str = "x-aws-ec2-metadata-token-ttl-seconds";
const TOKEN: &str = "x-aws-ec2-metadata-token";

async fn status(imds: &Imds, method: Method, path: &str, headers: &[(&str, &str)]) -> StatusCode {
    let client = hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build_http();
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.method_mut() = method;
    *request.uri_mut() = format!("{}{path}", imds.url()).parse().unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
    }
    client.request(request).await.unwrap().status()
}

#[tokio::test]
async fn the_sdk_reads_it_by_token_and_every_request_is_recorded() {
    let imds = Imds::start().await.unwrap();
    imds.require_tokens(true);
    let config = ProviderConfig::without_region().with_http_client(Builder::new().build_http());
    let client = Client::builder().configure(&config).endpoint(imds.url()).unwrap().build();
    assert_eq!(client.get("/latest/meta-data/instance-id").await.unwrap().as_ref(), INSTANCE_ID);
    let role = client.get("/latest/meta-data/iam/security-credentials/").await.unwrap();
    assert_eq!(role.as_ref(), NODE_ROLE);
    let seen: Vec<_> = imds.seen().into_iter().map(|seen| (seen.method, seen.target)).collect();
    assert_eq!(seen[0], (Method::PUT, "/latest/api/token".into()));
    assert_eq!(seen[2], (Method::GET, "/latest/meta-data/iam/security-credentials/".into()));
}

#[tokio::test]
async fn tokens_follow_the_rules_of_ec2() {
    let imds = Imds::start().await.unwrap();
    let id = "/latest/meta-data/instance-id";
    for (method, path, headers, expected) in [
        (Method::PUT, "/latest/api/token", vec![(TTL, "21600")], 200),
        (Method::PUT, "/latest/api/token", vec![], 400),
        (Method::PUT, "/latest/api/token", vec![(TTL, "0")], 400),
        (Method::PUT, "/latest/api/token", vec![(TTL, "21601")], 400),
        (Method::PUT, "/latest/api/token", vec![(TTL, "60"), ("x-forwarded-for", "10.0.0.1")], 403),
        (Method::PUT, "/2021-03-23/api/token", vec![(TTL, "60")], 403),
        (Method::GET, id, vec![], 200),
        (Method::GET, id, vec![(TOKEN, "forged")], 401),
        (Method::POST, id, vec![], 405),
        (Method::GET, "/latest/meta-data/no-such-item", vec![], 404),
        (Method::GET, "/2021-03-23/meta-data/placement/", vec![], 200),
    ] {
        assert_eq!(status(&imds, method.clone(), path, &headers).await, expected, "{method} {path} {headers:?}");
    }
    imds.require_tokens(true);
    assert_eq!(status(&imds, Method::GET, id, &[]).await, StatusCode::UNAUTHORIZED);
    imds.fail_with(Some(StatusCode::SERVICE_UNAVAILABLE));
    assert_eq!(status(&imds, Method::GET, id, &[]).await, StatusCode::SERVICE_UNAVAILABLE);
}
