//! How EC2's instance metadata service answers, rule by rule, as its user guide has it ("Use the Instance Metadata
//! Service to access instance metadata", "How Instance Metadata Service Version 2 works"): a table of requests and
//! answers.

use std::net::IpAddr;

use super::super::token::{TOKEN_HEADER, TTL_HEADER, Ttl};
use super::*;

const TOKEN_PATH: &str = "/latest/api/token";
const GET_LIST: &str = "GET /latest/meta-data/iam/security-credentials/";
const GET_ROLE: &str = "GET /latest/meta-data/iam/security-credentials/reader";
const GET_DATA: &str = "GET /latest/meta-data/placement/region";
const FORWARDED: (&str, &str) = ("x-forwarded-for", "203.0.113.1");

/// A rule, the request that shows it, and the answer's status.
struct Line<'t> {
    rule: &'static str,
    method: Method,
    path: &'static str,
    headers: Vec<(&'t str, &'t str)>,
    status: u16,
}

fn line<'t>(rule: &'static str, request: &'static str, headers: &[(&'t str, &'t str)], status: u16) -> Line<'t> {
    let (method, path) = request.split_once(' ').unwrap();
    Line { rule, method: method.parse().unwrap(), path, headers: headers.to_vec(), status }
}

async fn assert_holds(stand: &Stand, table: &[Line<'_>]) {
    for Line { rule, method, path, headers, status } in table {
        let answer = stand.ask(POD, method.clone(), path, headers).await;
        assert_eq!(answer.status, *status, "{rule}: {method} {path} {headers:?}: {}", answer.body);
    }
}

fn ttl(seconds: &str) -> (&str, &str) {
    (TTL_HEADER, seconds)
}

fn token(value: &str) -> (&str, &str) {
    (TOKEN_HEADER, value)
}

fn issued(stand: &Stand, pod: &str, seconds: &str) -> String {
    stand.front.imds.mint.issue(pod.parse::<IpAddr>().unwrap(), Ttl::parse(seconds).unwrap())
}

async fn stand(tokens: Tokens) -> Stand {
    let expression = RouteExpression::parse("/latest/meta-data/placement/.*").unwrap();
    Stand::with(AllowedRoutes { presets: Vec::new(), expression, user_data: false }, tokens).await
}

#[tokio::test]
async fn session_tokens_are_given_as_ec2_gives_them() {
    let stand = stand(Tokens::Optional).await;
    let table = [
        line("the least life", "PUT /latest/api/token", &[ttl("1")], 200),
        line("the longest life", "PUT /latest/api/token", &[ttl("21600")], 200),
        line("a life is required", "PUT /latest/api/token", &[], 400),
        line("a life is one second or more", "PUT /latest/api/token", &[ttl("0")], 400),
        line("a life is six hours or less", "PUT /latest/api/token", &[ttl("21601")], 400),
        line("a life is a number", "PUT /latest/api/token", &[ttl("six hours")], 400),
        line("a life is not negative", "PUT /latest/api/token", &[ttl("-1")], 400),
        line("a life is not empty", "PUT /latest/api/token", &[ttl("")], 400),
        line("no versioned paths", "PUT /2021-03-23/api/token", &[ttl("60")], 403),
        line("no versioned paths", "PUT /1.0/api/token", &[ttl("60")], 403),
        line("none through a proxy", "PUT /latest/api/token", &[ttl("60"), FORWARDED], 403),
        line("tokens are put, not got", "GET /latest/api/token", &[ttl("60")], 405),
        line("tokens are put, not posted", "POST /latest/api/token", &[ttl("60")], 405),
        line("nothing else is put", "PUT /latest/meta-data/", &[ttl("60")], 405),
    ];
    assert_holds(&stand, &table).await;
    for seconds in ["1", "21600"] {
        let answer = stand.ask(POD, Method::PUT, TOKEN_PATH, &[ttl(seconds)]).await;
        assert_eq!(answer.headers[TTL_HEADER], seconds, "the life is echoed: some SDKs fail without it");
        assert_eq!(answer.headers["content-type"], "text/plain");
    }
}

#[tokio::test(start_paused = true)]
async fn data_is_given_as_ec2_gives_it() {
    let stand = stand(Tokens::Optional).await;
    let (own, foreign, expired) = (issued(&stand, POD, "60"), issued(&stand, OTHER, "60"), issued(&stand, POD, "1"));
    let (cut, longer) = (&own[..own.len() - 1], format!("{own}A"));
    tokio::time::advance(Duration::from_secs(2)).await;
    let table = [
        line("with a token", GET_LIST, &[token(&own)], 200),
        line("a token is used again", GET_LIST, &[token(&own)], 200),
        line("for every path", GET_ROLE, &[token(&own)], 200),
        line("for every path", GET_DATA, &[token(&own)], 200),
        line("without a token, where they are optional", GET_LIST, &[], 200),
        line("without a token, where they are optional", GET_DATA, &[FORWARDED], 200),
        line("a forged token", GET_LIST, &[token("AQAEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==")], 401),
        line("an empty token", GET_LIST, &[token("")], 401),
        line("a token that is cut", GET_LIST, &[token(cut)], 401),
        line("a token with more behind it", GET_LIST, &[token(&longer)], 401),
        line("an expired token", GET_LIST, &[token(&expired)], 401),
        line("another pod's token", GET_LIST, &[token(&foreign)], 401),
        line("a bad token is refused wherever it is shown", GET_DATA, &[token("forged")], 401),
        line("a bad token is refused wherever it is shown", "GET /latest/nothing", &[token("forged")], 401),
        line("a token through a proxy", GET_LIST, &[token(&own), FORWARDED], 403),
        line("HEAD is as good as GET", "HEAD /latest/meta-data/placement/region", &[token(&own)], 200),
        line("an unknown item", "GET /latest/meta-data/nothing", &[token(&own)], 404),
        line("every version", "GET /1.0/meta-data/iam/security-credentials/", &[token(&own)], 200),
        line("a list ends with a slash", "GET /latest/meta-data/iam/security-credentials", &[token(&own)], 301),
        line("data is not posted", "POST /latest/meta-data/placement/region", &[token(&own)], 405),
        line("data is not deleted", "DELETE /latest/meta-data/placement/region", &[token(&own)], 405),
        line("not two slashes", "GET /latest//meta-data/placement/region", &[token(&own)], 400),
    ];
    assert_holds(&stand, &table).await;
    let list = stand.ask(POD, Method::GET, "/latest/meta-data/iam/security-credentials/", &[token(&own)]).await;
    assert_eq!(list.headers["content-type"], "text/plain");
}

#[tokio::test]
async fn where_tokens_are_required_data_is_given_as_ec2_gives_it_then() {
    let stand = stand(Tokens::Required).await;
    let own = issued(&stand, POD, "60");
    let table = [
        line("with a token", "GET /latest/meta-data/placement/region", &[token(&own)], 200),
        line("without a token", "GET /latest/meta-data/placement/region", &[], 401),
        line("without a token", "GET /latest/meta-data/iam/security-credentials/", &[], 401),
        line("without a token", "HEAD /latest/meta-data/iam/security-credentials/reader", &[], 401),
        line("without a token, an unknown item", "GET /latest/meta-data/nothing", &[], 401),
        line("a forged token", "GET /latest/meta-data/placement/region", &[token("forged")], 401),
        line("a token is given without one", "PUT /latest/api/token", &[(TTL_HEADER, "60")], 200),
        line("the kubelet has none", "GET /ping", &[], 200),
        line("the kubelet has none", "GET /health", &[], 200),
    ];
    assert_holds(&stand, &table).await;
}
