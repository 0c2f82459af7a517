//! Who may read metrics with `--metrics-auth=kubernetes`: by a real Kubernetes API server, on both programs.

use std::net::SocketAddr;

use http::{Request, StatusCode, header};
use kiam_common::testing::metrics::count;
use kiam_tests::kube_api::TokenUser;
use kiam_tests::real::eventually;
use kiam_tests::real::http::{Answer, LOCALHOST, get, send};
use kiam_tests::real::jwt::{forge, strange_key};
use kiam_tests::real::kube_apiserver::KubeApiServer;
use kiam_tests::real::program::Invocation;
use kiam_tests::stack::Program;
use serde_json::json;

use crate::emulated::Emulated;
use crate::shared;
use crate::world::{World, wait_until_ready};

const METRICS: &str = "/metrics";

/// What a listener answers to who bears this token.
async fn scrape(listener: SocketAddr, token: &str) -> Answer {
    let request = Request::get(METRICS).header(header::AUTHORIZATION, format!("Bearer {token}"));
    send(LOCALHOST, listener, request.body(String::new()).expect("the token is sound")).await
}

fn guarded(program: Invocation) -> Invocation {
    program.flag("--metrics-auth", "kubernetes")
}

/// A new account that may get `/metrics`, or may not; its token.
async fn account(kubernetes: &KubeApiServer, namespace: &str, name: &str, may: bool) -> String {
    kubernetes.kubectl(&["create", "serviceaccount", name, "--namespace", namespace]);
    if may {
        let (role, account) = (format!("{namespace}-{name}"), format!("--serviceaccount={namespace}:{name}"));
        kubernetes.kubectl(&["create", "clusterrole", &role, "--verb=get", "--non-resource-url=/metrics"]);
        let named = format!("--clusterrole={role}");
        kubernetes.kubectl(&["create", "clusterrolebinding", &role, &named, &account]);
        let as_account = format!("--as=system:serviceaccount:{namespace}:{name}");
        eventually("the right to take effect", async || {
            kubernetes.try_kubectl(&["auth", "can-i", "get", METRICS, &as_account]).ok()
        })
        .await;
    }
    kubernetes.kubectl(&["create", "token", name, "--namespace", namespace]).trim().into()
}

#[tokio::test]
async fn metrics_are_for_whom_the_kubernetes_api_knows_and_allows_on_both_programs() {
    let world = World::with_flags(shared::moto().await.url(), guarded, guarded).await;
    let (kubernetes, namespace) = (world.kubernetes, world.namespace(".*").await);
    let allowed = account(kubernetes, &namespace.name, "prometheus", true).await;
    let unallowed = account(kubernetes, &namespace.name, "somebody", false).await;
    let expired = forge(&allowed, &kubernetes.signing_key(), |claims| {
        for (claim, time) in [("iat", 1_700_000_000), ("nbf", 1_700_000_000), ("exp", 1_700_003_600)] {
            claims[claim] = json!(time);
        }
    });
    let forged = forge(&allowed, &strange_key(), |_| ());
    let for_others = kubernetes.kubectl(&[
        "create",
        "token",
        "prometheus",
        "--namespace",
        &namespace.name,
        "--audience=somebody-else",
    ]);
    for program in [&world.server, &world.agent] {
        let listener = program.addresses().ops;
        let read = scrape(listener, &allowed).await;
        assert_eq!(read.status, StatusCode::OK, "{}: {}", program.name(), read.body);
        assert_eq!(count(&read.body, r#"kiam_scraper_reviews_total{outcome="accepted"}"#), Some(1));
        for (what, token, status) in [
            ("unallowed", &unallowed, StatusCode::FORBIDDEN),
            ("expired", &expired, StatusCode::UNAUTHORIZED),
            ("forged", &forged, StatusCode::UNAUTHORIZED),
            ("for others", &for_others.trim().to_owned(), StatusCode::UNAUTHORIZED),
            ("nonsense", &"nonsense".to_owned(), StatusCode::UNAUTHORIZED),
        ] {
            assert_eq!(scrape(listener, token).await.status, status, "{what}, {}", program.name());
        }
        let without = get(LOCALHOST, listener, METRICS).await;
        assert_eq!((without.status, without.header("www-authenticate")), (StatusCode::UNAUTHORIZED, "Bearer"));
        for path in ["/live", "/ready"] {
            assert_eq!(get(LOCALHOST, listener, path).await.status, StatusCode::OK, "{path}");
        }
        let again = scrape(listener, &allowed).await;
        assert_eq!(count(&again.body, r#"kiam_scraper_reviews_total{outcome="accepted"}"#), Some(1), "remembered");
        for token in [&allowed, &unallowed, &expired, &forged] {
            assert!(!again.body.contains(token.as_str()));
        }
    }
    let log = world.logs.read();
    for token in [&allowed, &unallowed, &expired, &forged] {
        assert!(!log.contains(token.as_str()), "a token is told");
    }
}

/// Emulated programs that show their metrics to `known` alone.
async fn emulated() -> (Emulated, Program, Program) {
    let around = Emulated::start().await;
    around.kube.set_token("known", Some(TokenUser { username: "prometheus".into(), ..TokenUser::default() }));
    let server = around.logs.start("server", &guarded(around.server())).await;
    let agent = around.logs.start("agent", &guarded(around.agent(server.addresses().main))).await;
    wait_until_ready(&agent).await;
    (around, server, agent)
}

#[tokio::test]
async fn an_agent_goes_on_with_what_it_knows_of_scrapers_while_no_server_is_there() {
    let (_around, mut server, agent) = emulated().await;
    let listener = agent.addresses().ops;
    assert_eq!(scrape(listener, "known").await.status, StatusCode::OK);
    server.kill().await.expect("the server can be killed");
    assert_eq!(scrape(listener, "known").await.status, StatusCode::OK);
    let unknown = scrape(listener, "new").await;
    assert_eq!(unknown.status, StatusCode::SERVICE_UNAVAILABLE, "{}", unknown.body);
    assert_eq!(get(LOCALHOST, listener, "/live").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_variable_in_the_environment_opens_metrics_whatever_the_flag_says() {
    let around = Emulated::start().await;
    let server = guarded(around.server()).env("INSECURE_METRICS", true);
    let server = around.logs.start("server", &server).await;
    let agent = guarded(around.agent(server.addresses().main)).env("INSECURE_METRICS", true);
    let agent = around.logs.start("agent", &agent).await;
    for program in [&server, &agent] {
        assert_eq!(get(LOCALHOST, program.addresses().ops, METRICS).await.status, StatusCode::OK);
    }
    assert_eq!(around.logs.read().matches("INSECURE_METRICS=true").count(), 2);
}

#[tokio::test]
async fn metrics_are_at_the_path_that_the_flag_says_on_both_programs() {
    let around = Emulated::start().await;
    let elsewhere = |program: Invocation| program.flag("--metrics-path", "/kiam/metrics");
    let server = around.logs.start("server", &elsewhere(around.server())).await;
    let agent = around.logs.start("agent", &elsewhere(around.agent(server.addresses().main))).await;
    for program in [&server, &agent] {
        let at = async |path| get(LOCALHOST, program.addresses().ops, path).await.status;
        assert_eq!((at("/kiam/metrics").await, at(METRICS).await), (StatusCode::OK, StatusCode::NOT_FOUND));
    }
}
