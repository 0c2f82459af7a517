//! What each route answers, and what it asks of whom.

use std::time::Duration;

use clap::ValueEnum as _;

use super::allowed::Preset;
use super::*;

/// All that the flags can open, but for user data.
fn everything() -> AllowedRoutes {
    let expression = RouteExpression::parse("(?s).*").unwrap();
    AllowedRoutes { presets: Preset::value_variants().to_vec(), expression, user_data: false }
}

#[tokio::test]
async fn the_list_names_the_pods_role() {
    let stand = Stand::new().await;
    for target in
        [LIST, "/1.0/meta-data/iam/security-credentials/", "/latest/meta-data/iam/security-credentials-extended/"]
    {
        let answer = stand.get(target).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "reader"), "{target}");
        assert_eq!(answer.headers["content-type"], "text/plain");
    }
}

#[tokio::test]
async fn the_list_without_its_slash_is_moved_to_the_one_with_it() {
    let stand = Stand::new().await;
    let answer = stand.get("/latest/meta-data/iam/security-credentials?a=b").await;
    assert_eq!(answer.status, 301);
    assert_eq!(answer.headers["location"], "/latest/meta-data/iam/security-credentials/?a=b");
    assert!(stand.server.calls.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_role_has_its_document() {
    let stand = Stand::new().await;
    let answer = stand.get(&format!("{LIST}reader")).await;
    assert_eq!((answer.status, answer.headers["content-type"].as_str()), (200, "application/json"));
    let document: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(document["SecretAccessKey"], SECRET);
    assert_eq!(document.get("AccountId"), None);
    assert_eq!(stand.metric(r#"kiam_metadata_success_total{handler="credentials"}"#), Some(1.0));
}

#[tokio::test]
async fn the_extended_document_names_the_account_of_the_roles_arn() {
    let stand = Stand::new().await;
    let arn = "arn:aws:iam::123456789012:role/team/reader";
    stand.server.set(POD, Pod::Role(arn, credentials()));
    for asked in [arn, "arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Fteam%2Freader"] {
        let answer = stand.get(&format!("/latest/meta-data/iam/security-credentials-extended/{asked}")).await;
        let document: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(document["AccountId"], "123456789012");
    }
}

#[tokio::test]
async fn the_server_is_asked_for_the_role_as_it_was_meant() {
    let stand = Stand::new().await;
    for (asked, meant) in [
        ("reader", "reader"),
        ("reader/", "reader"),
        ("/team/reader", "/team/reader"),
        ("%2Fteam%2Freader", "/team/reader"),
        ("other", "other"),
    ] {
        stand.get(&format!("{LIST}{asked}")).await;
        let (call, pod, role) = stand.server.calls.lock().unwrap().pop().unwrap();
        assert_eq!((call, pod.to_string().as_str(), role.as_str()), ("credentials", POD, meant));
    }
}

#[tokio::test]
async fn each_refusal_has_its_status_and_code() {
    let stand = Stand::new().await;
    for (reason, status) in [
        (Reason::NoRole, 404),
        (Reason::Forbidden, 403),
        (Reason::InvalidAnnotation, 403),
        (Reason::PodAmbiguous, 409),
        (Reason::StsRefused, 502),
        (Reason::StsUnavailable, 503),
        (Reason::ServerUnreachable, 503),
    ] {
        stand.server.set(POD, Pod::Refused(refusal(reason)));
        for target in [LIST.to_owned(), format!("{LIST}reader")] {
            let answer = stand.get(&target).await;
            assert_eq!((answer.status, answer.code().as_str()), (status, reason.as_str()), "{target}");
            assert_eq!(answer.headers.contains_key("retry-after"), status == 503);
        }
        let series = format!(r#"kiam_metadata_refused_total{{reason="{}"}}"#, reason.as_str());
        assert_eq!(stand.metric(&series), Some(2.0));
    }
    assert_eq!(stand.metric(r#"kiam_metadata_find_role_errors_total{handler="roleName"}"#), Some(6.0));
    assert_eq!(stand.metric(r#"kiam_metadata_empty_role_total{handler="roleName"}"#), Some(1.0));
    assert_eq!(stand.metric(r#"kiam_metadata_credential_fetch_errors_total{handler="credentials"}"#), Some(7.0));
}

#[tokio::test]
async fn a_pod_without_a_role_is_told_so() {
    let stand = Stand::new().await;
    stand.server.set(POD, Pod::NoRole);
    let answer = stand.get(LIST).await;
    assert_eq!((answer.status, answer.code().as_str()), (404, "NoRole"));
    assert_eq!(stand.metric(r#"kiam_metadata_empty_role_total{handler="roleName"}"#), Some(1.0));
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_nobody_knows_yet_waits_and_is_answered_at_once() {
    let stand = Arc::new(Stand::new().await);
    let started = Instant::now();
    let waiting = tokio::spawn({
        let stand = stand.clone();
        async move { stand.ask(OTHER, Method::GET, LIST, &[]).await }
    });
    tokio::time::sleep(Duration::from_secs(3)).await;
    stand.server.set(OTHER, Pod::Role("late", credentials()));
    assert_eq!(waiting.await.unwrap().body, "late");
    assert_eq!(started.elapsed().as_secs(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_nobody_ever_knows_is_refused_after_five_seconds() {
    let stand = Stand::new().await;
    let started = Instant::now();
    let answer = stand.ask(OTHER, Method::GET, LIST, &[]).await;
    assert_eq!((answer.status, answer.code().as_str()), (404, "PodNotFound"));
    assert_eq!(started.elapsed().as_secs(), 5);
}

#[tokio::test]
async fn a_pods_address_is_its_connections_unless_development_says_otherwise() {
    let mut stand = Stand::new().await;
    stand.server.set(OTHER, Pod::Role("theirs", credentials()));
    let target = format!("{LIST}?ip={OTHER}");
    assert_eq!(stand.get(&target).await.body, "reader");
    Arc::get_mut(&mut stand.front).unwrap().allow_ip_query = true;
    assert_eq!(stand.get(&target).await.body, "theirs");
    assert_eq!(stand.get(&format!("{LIST}?ip=nonsense")).await.status, 400);
}

/// How EC2 answers requests for tokens, and with them.
#[tokio::test]
async fn tokens_follow_the_rules_of_imdsv2() {
    let stand = Stand::new().await;
    let ttl = ("x-aws-ec2-metadata-token-ttl-seconds", "21600");
    let answer = stand.put_token(POD, &[ttl]).await;
    assert_eq!((answer.status, answer.headers["content-type"].as_str()), (200, "text/plain"));
    assert_eq!(answer.headers[ttl.0], "21600");
    let token = ("x-aws-ec2-metadata-token", answer.body.as_str());

    for life in ["", "0", "21601", "-1", "6h"] {
        assert_eq!(stand.put_token(POD, &[(ttl.0, life)]).await.status, 400, "{life}");
    }
    assert_eq!(stand.put_token(POD, &[]).await.status, 400);
    let forwarded = ("x-forwarded-for", "203.0.113.1");
    assert_eq!(stand.put_token(POD, &[ttl, forwarded]).await.status, 403);
    assert_eq!(stand.ask(POD, Method::PUT, "/2021-03-23/api/token", &[ttl]).await.status, 403);

    for (pod, headers, status) in [
        (POD, &[token][..], 200),
        (POD, &[], 200),
        (POD, &[forwarded], 200),
        (POD, &[token, forwarded], 403),
        (OTHER, &[token], 401),
        (POD, &[(token.0, "forged")], 401),
        (POD, &[(token.0, "")], 401),
        (POD, &[(token.0, &token.1[..40])], 401),
    ] {
        let answer = stand.ask(pod, Method::GET, LIST, headers).await;
        assert_eq!(answer.status, status, "{pod} {headers:?}");
    }
}

#[tokio::test]
async fn where_tokens_are_required_nothing_of_the_metadata_is_had_without() {
    let stand = Stand::with(everything(), Tokens::Required).await;
    let proxied = "/latest/meta-data/placement/region";
    for target in [LIST, &format!("{LIST}reader"), LIST.trim_end_matches('/'), "/latest/meta-data/iam/info", proxied] {
        let answer = stand.get(target).await;
        assert_eq!((answer.status, answer.code().as_str()), (401, "Unauthorized"), "{target}");
    }
    assert!(stand.server.calls.lock().unwrap().is_empty() && stand.metadata.seen().is_empty());

    let token = stand.put_token(POD, &[("x-aws-ec2-metadata-token-ttl-seconds", "60")]).await.body;
    let token = ("x-aws-ec2-metadata-token", token.as_str());
    assert_eq!(stand.ask(POD, Method::GET, LIST, &[token]).await.body, "reader");
    assert_eq!(stand.ask(POD, Method::GET, proxied, &[token]).await.status, 200);
    for probe in ["/ping", "/health"] {
        assert_eq!(stand.get(probe).await.status, 200, "{probe}");
    }
}

#[tokio::test]
async fn methods_that_a_path_does_not_take_are_405() {
    let stand = Stand::allowing(".*").await;
    for method in [Method::PUT, Method::POST, Method::DELETE, Method::OPTIONS, Method::PATCH] {
        for target in ["/ping", "/health", LIST, "/latest/meta-data/placement/region"] {
            let answer = stand.ask(POD, method.clone(), target, &[]).await;
            assert_eq!((answer.status, answer.headers["allow"].as_str()), (405, "GET, HEAD"), "{method} {target}");
        }
    }
    let answer = stand.get("/latest/api/token").await;
    assert_eq!((answer.status, answer.headers["allow"].as_str()), (405, "PUT"));
    assert!(stand.metadata.seen().is_empty());
}

#[tokio::test]
async fn ping_needs_nobody() {
    let stand = Stand::new().await;
    assert_eq!(stand.get("/ping").await.body, "pong");
    assert!(stand.metadata.seen().is_empty() && stand.server.calls.lock().unwrap().is_empty());
}

#[tokio::test]
async fn health_tells_the_truth_about_the_metadata_service() {
    let stand = Stand::new().await;
    let answer = stand.get("/health").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "i-0123456789abcdef0"));
    for status in [301, 403, 404, 500] {
        stand.metadata.behave(Mode::Status(status));
        assert_eq!(stand.get("/health").await.status, 502, "{status}");
    }
}

#[tokio::test]
async fn deep_health_asks_the_server_too() {
    let stand = Stand::new().await;
    assert_eq!(stand.get("/health").await.status, 200);
    assert_eq!(stand.get("/health?deep=1").await.status, 503);
    *stand.server.health.lock().unwrap() = Some("starting".into());
    let answer = stand.get("/health?deep=1").await;
    assert_eq!((answer.status, answer.code().as_str()), (503, "ServerUnwell"));
    *stand.server.health.lock().unwrap() = Some("ok".into());
    assert_eq!(stand.get("/health?deep=1").await.status, 200);
}

#[tokio::test]
async fn allowed_paths_are_passed_on_and_all_others_are_counted() {
    let stand = Stand::allowing("/latest/meta-data/placement/.*").await;
    let answer = stand.get("/latest/meta-data/placement/region").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "i-0123456789abcdef0"));
    for target in ["/latest/meta-data/instance-id", "/latest/user-data", "/", "/latest/meta-data/placement"] {
        assert_eq!(stand.get(target).await.status, 404, "{target}");
    }
    assert_eq!(stand.metadata.targets(), ["/latest/meta-data/placement/region"]);
    assert_eq!(stand.metric("kiam_metadata_proxy_requests_blocked_total"), Some(4.0));
}

#[tokio::test]
async fn presets_and_the_expression_are_allowed_both() {
    let expression = RouteExpression::parse("/latest/meta-data/ramdisk-id").unwrap();
    let allowed = AllowedRoutes { presets: vec![Preset::Instance, Preset::Spot], expression, user_data: false };
    let stand = Stand::with(allowed, Tokens::Optional).await;
    let passed_on =
        ["/latest/meta-data/instance-id", "/1.0/meta-data/spot/instance-action", "/latest/meta-data/ramdisk-id"];
    for target in passed_on {
        assert_eq!(stand.get(target).await.status, 200, "{target}");
    }
    for target in ["/1.0/meta-data/ramdisk-id", "/latest/meta-data/placement/region", "/latest/user-data"] {
        assert_eq!(stand.get(target).await.status, 404, "{target}");
    }
    assert_eq!(stand.metadata.targets(), passed_on);
}

#[tokio::test]
async fn user_data_is_passed_on_only_if_it_is_named() {
    let closed = Stand::with(everything(), Tokens::Optional).await;
    let open = Stand::with(AllowedRoutes { user_data: true, ..everything() }, Tokens::Optional).await;
    for target in ["/latest/user-data", "/1.0/user-data", "/latest/user%2Ddata"] {
        assert_eq!(closed.get(target).await.status, 404, "{target}");
        assert_eq!(open.get(target).await.status, 200, "{target}");
    }
    for target in ["/latest/USER-DATA", "/latest/meta-data/user-data", "/latest/user-data/x"] {
        assert_eq!(open.get(target).await.status, 404, "{target}");
    }
    assert!(closed.metadata.seen().is_empty());
    assert_eq!(open.metadata.targets(), ["/latest/user-data", "/1.0/user-data", "/latest/user-data"]);
}

#[tokio::test]
async fn a_metadata_service_that_is_away_or_slow_is_said_so() {
    let stand = Stand::allowing(".*").await;
    stand.metadata.behave(Mode::TokenStatus(500));
    assert_eq!(stand.get("/latest/meta-data/placement/region").await.status, 502);
}

#[tokio::test]
async fn nothing_under_iam_is_ever_passed_on() {
    let stand = Stand::allowing("(?s).*").await;
    let mut targets = Vec::new();
    for version in ["latest", "1.0", "2021-03-23"] {
        for own in ["iam", "IAM", "%69am", "ia%6d", "identity-credentials", "Identity-Credentials"] {
            for rest in
                ["", "/", "/info", "/security-credentials/x%0a", "/security-credentials%5cnode", "/./info", "//info"]
            {
                targets.push(format!("/{version}/meta-data/{own}{rest}"));
                targets.push(format!("/{version}/meta-data/./{own}{rest}"));
                targets.push(format!("/{version}//meta-data/{own}{rest}"));
                targets.push(format!("/{version}/x/../meta-data/{own}{rest}"));
                targets.push(format!("/{version}/x/%2e%2e/meta-data/{own}{rest}"));
                targets.push(format!("/{version}/meta-data%2f{own}{rest}"));
                targets.push(format!("/{version}/meta-data%252f{own}{rest}"));
                targets.push(format!("/{version}/meta-data;x/{own}{rest}"));
                targets.push(format!("/{version}/meta-data/{own};x{rest}"));
                targets.push(format!("/{version}/meta-data%5c{own}{rest}"));
                targets.push(format!("/{version}/meta-data/%3f/{own}{rest}"));
                targets.push(format!("/{version}/meta-data/{own}%00{rest}"));
            }
        }
    }
    for target in &targets {
        let status = stand.get(target).await.status;
        assert!((400..500).contains(&status) || status == 301, "{target}: {status}");
    }
    assert_eq!(stand.metadata.targets(), Vec::<String>::new());
    assert_eq!(stand.get("/latest/meta-data/placement/region").await.status, 200);
}
