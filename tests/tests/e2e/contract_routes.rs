//! Every route of the agent, asked through the whole path as `curl` would.

use std::net::IpAddr;

use http::{Method, Request, StatusCode};
use kiam_common::testing::metrics::value;
use kiam_tests::imds::{INSTANCE_ID, NODE_ROLE, NODE_SECRET};
use kiam_tests::real::http::{Answer, LOCALHOST, get, send, send_raw};
use kiam_tests::real::namespace::{Pod, ROLE};
use kiam_tests::real::program::Invocation;

use crate::world::{CREDENTIALS, World, metrics};

const TOKEN: &str = "x-aws-ec2-metadata-token";
const TTL: &str = "x-aws-ec2-metadata-token-ttl-seconds";

/// A world with one pod in it that has a role.
async fn with_pod(role: &str) -> (World, Pod) {
    let world = World::start().await;
    let pod = world.namespace(".*").await.run("reader", &[(ROLE, role)]).await;
    (world, pod)
}

async fn put_token(world: &World, pod: &Pod, path: &str, headers: &[(&str, &str)]) -> Answer {
    let request = headers.iter().fold(Request::put(path), |request, (name, value)| request.header(*name, *value));
    world.send(pod, request.body(String::new()).expect("a sound request")).await
}

async fn get_with(world: &World, pod: &Pod, path: &str, headers: &[(&str, &str)]) -> Answer {
    let request = headers.iter().fold(Request::get(path), |request, (name, value)| request.header(*name, *value));
    world.send(pod, request.body(String::new()).expect("a sound request")).await
}

#[tokio::test]
async fn ping_answers_whatever_else_is_away() {
    let mut world = World::start().await;
    let agent = world.agent_addr();
    world.server.stop().await.expect("the server stops");
    let answer = get(LOCALHOST, agent, "/ping").await;
    assert_eq!((answer.status, answer.body.as_str()), (StatusCode::OK, "pong"));
}

#[tokio::test]
async fn health_is_the_instances_id_and_deep_health_asks_the_server_too() {
    let mut world = World::start().await;
    let agent = world.agent_addr();
    for path in ["/health", "/health?deep=1"] {
        let answer = get(LOCALHOST, agent, path).await;
        assert_eq!((answer.status, answer.body.as_str()), (StatusCode::OK, INSTANCE_ID), "{path}");
    }

    world.imds.fail_with(Some(StatusCode::INTERNAL_SERVER_ERROR));
    assert_eq!(get(LOCALHOST, agent, "/health").await.status, StatusCode::BAD_GATEWAY);
    world.imds.fail_with(None);

    world.server.stop().await.expect("the server stops");
    assert_eq!(get(LOCALHOST, agent, "/health").await.status, StatusCode::OK);
    assert_eq!(get(LOCALHOST, agent, "/health?deep=1").await.status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn the_list_is_the_annotations_own_text_under_every_version() {
    let (world, pod) = with_pod("/team/reader").await;
    for version in ["latest", "1.0", "2021-03-23"] {
        for list in ["security-credentials", "security-credentials-extended"] {
            let path = format!("/{version}/meta-data/iam/{list}");
            let moved = world.ask(&pod, &path).await;
            assert_eq!(moved.status, StatusCode::MOVED_PERMANENTLY, "{path}");
            assert_eq!(moved.header("location"), format!("{path}/"));
            let answer = world.ask(&pod, &format!("{path}/")).await;
            assert_eq!((answer.status, answer.body.as_str()), (StatusCode::OK, "/team/reader"), "{path}/");
            assert!(answer.header("content-type").starts_with("text/plain"), "{}", answer.header("content-type"));
        }
    }
}

#[tokio::test]
async fn the_document_has_the_contracts_fields_and_no_others() {
    let (world, pod) = with_pod("reader").await;
    let answer = world.ask_for(&pod, "reader").await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert!(answer.header("content-type").starts_with("application/json"));
    let document: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&answer.body).expect("JSON");
    let mut fields: Vec<&str> = document.keys().map(String::as_str).collect();
    fields.sort_unstable();
    let wanted = ["AccessKeyId", "Code", "Expiration", "LastUpdated", "SecretAccessKey", "Token", "Type"];
    assert_eq!(fields, wanted);
    assert_eq!((document["Code"].as_str(), document["Type"].as_str()), (Some("Success"), Some("AWS-HMAC")));
    for field in ["Expiration", "LastUpdated"] {
        let text = document[field].as_str().expect("text");
        assert!(text.len() == 20 && text.ends_with('Z') && text.parse::<jiff::Timestamp>().is_ok(), "{field}: {text}");
    }
}

#[tokio::test]
async fn a_role_is_found_however_sdks_spell_its_path() {
    let arn = "arn:aws:iam::210987654321:role/team/reader";
    let (world, pod) = with_pod(arn).await;
    let encoded = "arn%3Aaws%3Aiam%3A%3A210987654321%3Arole%2Fteam%2Freader";
    for spelling in [arn, encoded, &format!("{arn}/"), &format!("{encoded}/")] {
        let answer = world.ask_for(&pod, spelling).await;
        assert_eq!(answer.status, StatusCode::OK, "{spelling}: {}", answer.body);
    }

    let other = world.namespace(".*").await.run("slash", &[(ROLE, "/team/writer")]).await;
    for spelling in ["/team/writer", "%2Fteam%2Fwriter", "team/writer"] {
        let answer = world.ask_for(&other, spelling).await;
        assert_eq!(answer.status, StatusCode::OK, "{spelling}: {}", answer.body);
    }
}

#[tokio::test]
async fn the_extended_document_adds_the_roles_account() {
    for (role, account) in [("reader", "123456789012"), ("arn:aws:iam::210987654321:role/team/reader", "210987654321")]
    {
        let (world, pod) = with_pod(role).await;
        let answer = world.ask(&pod, &format!("/latest/meta-data/iam/security-credentials-extended/{role}")).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        assert_eq!(answer.field("AccountId"), account);
        assert!(answer.field("AccessKeyId").starts_with("ASIA"), "{}", answer.field("AccessKeyId"));
    }
}

#[tokio::test]
async fn session_tokens_follow_the_rules_of_imdsv2() {
    let (world, pod) = with_pod("reader").await;
    let path = "/latest/api/token";

    let token = put_token(&world, &pod, path, &[(TTL, "60")]).await;
    assert_eq!((token.status, token.header(TTL)), (StatusCode::OK, "60"));
    assert!(token.header("content-type").starts_with("text/plain"));
    for wrong in [&[][..], &[(TTL, "0")], &[(TTL, "21601")], &[(TTL, "soon")]] {
        assert_eq!(put_token(&world, &pod, path, wrong).await.status, StatusCode::BAD_REQUEST, "{wrong:?}");
    }
    let forwarded = [(TTL, "60"), ("x-forwarded-for", "10.0.0.1")];
    assert_eq!(put_token(&world, &pod, path, &forwarded).await.status, StatusCode::FORBIDDEN);
    let versioned = put_token(&world, &pod, "/2021-03-23/api/token", &[(TTL, "60")]).await;
    assert_eq!(versioned.status, StatusCode::FORBIDDEN);

    let role = async |token: &str| get_with(&world, &pod, CREDENTIALS, &[(TOKEN, token)]).await.status;
    assert_eq!(role(&token.body).await, StatusCode::OK);
    assert_eq!(role("forged").await, StatusCode::UNAUTHORIZED);
    let other = world.namespace(".*").await.run("other", &[(ROLE, "reader")]).await;
    let of_other = put_token(&world, &other, path, &[(TTL, "60")]).await;
    assert_eq!(role(&of_other.body).await, StatusCode::UNAUTHORIZED, "a token is the pod's that asked for it");
}

#[tokio::test]
async fn the_nodes_own_identity_is_never_passed_on_under_any_flag() {
    let sts = crate::shared::moto().await.url();
    let everything = |agent: Invocation| agent.flag("--allow-route-regexp", ".*");
    let world = World::with_flags(sts, |server| server, everything).await;
    let pod = world.namespace(".*").await.run("reader", &[(ROLE, "reader")]).await;

    assert_eq!(world.ask(&pod, "/latest/meta-data/placement/region").await.body, "eu-west-1");
    for path in [
        "/latest/meta-data/iam",
        "/latest/meta-data/iam/",
        "/latest/meta-data/iam/info",
        "/2021-03-23/meta-data/iam/info",
        "/latest/meta-data/IAM/info",
        "/latest/meta-data/%69am/info",
        "/latest/meta-data/identity-credentials/ec2/info",
        "/latest/meta-data/identity-credentials/ec2/security-credentials/ec2-instance",
    ] {
        assert_eq!(world.ask(&pod, path).await.status, StatusCode::NOT_FOUND, "{path}");
    }
    for path in [
        format!("{CREDENTIALS}{NODE_ROLE}"),
        format!("/latest/meta-data/iam/security-credentials-extended/{NODE_ROLE}"),
        format!("/latest//meta-data/iam/security-credentials/{NODE_ROLE}"),
        format!("/latest/meta-data/x/../iam/security-credentials/{NODE_ROLE}"),
        format!("/latest/meta-data/iam%2Fsecurity-credentials/{NODE_ROLE}"),
        format!("/latest/meta-data\\iam\\security-credentials/{NODE_ROLE}"),
        format!("{CREDENTIALS}{NODE_ROLE}%0a"),
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: 169.254.169.254\r\nConnection: close\r\n\r\n");
        let answer = send_raw(IpAddr::V4(pod.ip), world.agent_addr(), request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 4"), "{path}: {answer}");
        assert!(!answer.contains(NODE_SECRET), "{path}: {answer}");
    }
    let leaked: Vec<_> = world.imds.seen().into_iter().filter(|seen| seen.target.contains("iam")).collect();
    assert!(leaked.is_empty(), "{leaked:?}");
}

#[tokio::test]
async fn other_paths_are_passed_on_if_the_whole_path_is_allowed_and_counted_if_not() {
    let sts = crate::shared::moto().await.url();
    let allowed =
        |agent: Invocation| agent.flag("--allow-route-regexp", "/latest/meta-data/(instance-id|placement/.*)");
    let world = World::with_flags(sts, |server| server, allowed).await;
    let agent = world.agent_addr();

    let answer = get(LOCALHOST, agent, "/latest/meta-data/instance-id").await;
    assert_eq!((answer.status, answer.body.as_str()), (StatusCode::OK, INSTANCE_ID));
    assert_eq!(get(LOCALHOST, agent, "/latest/meta-data/placement/region").await.body, "eu-west-1");
    for path in ["/latest/meta-data/instance-id/x", "/1.0/latest/meta-data/instance-id", "/latest/user-data", "/"] {
        let answer = get(LOCALHOST, agent, path).await;
        assert_eq!((answer.status, answer.field("Code").as_str()), (StatusCode::NOT_FOUND, "NotFound"), "{path}");
    }
    let blocked = value(&metrics(&world.agent).await, "kiam_metadata_proxy_requests_blocked_total");
    assert_eq!(blocked, Some(4.0));

    // The agent asks for its node's zone, too.
    let is_own = |target: &str| target.ends_with("/placement/availability-zone");
    let seen = world.imds.seen().into_iter();
    let passed_on: Vec<_> = seen.filter(|seen| seen.method == Method::GET && !is_own(&seen.target)).collect();
    assert_eq!(passed_on.len(), 2);
    for seen in passed_on {
        assert!(seen.headers.iter().any(|(name, _)| name == TOKEN), "without the agent's own session: {seen:?}");
    }
}

#[tokio::test]
async fn methods_and_requests_that_make_no_sense_are_refused_at_once() {
    let (world, pod) = with_pod("reader").await;
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
        let request = Request::builder().method(&method).uri(CREDENTIALS).body(String::new()).expect("sound");
        assert_eq!(world.send(&pod, request).await.status, StatusCode::METHOD_NOT_ALLOWED, "{method}");
    }
    let head = Request::head(CREDENTIALS).body(String::new()).expect("sound");
    assert_eq!(send(IpAddr::V4(pod.ip), world.agent_addr(), head).await.status, StatusCode::OK);

    for request in [
        "GET http://169.254.169.254/latest/meta-data/iam/security-credentials/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "GET /latest/%zz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "GET /latest/meta-data/iam/security-credentials/;x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "GET /latest/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET /latest/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 4\r\n\r\nbody",
        "nonsense\r\n\r\n",
    ] {
        let answer = send_raw(IpAddr::V4(pod.ip), world.agent_addr(), request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 4"), "{request:?}: {answer}");
    }
}
