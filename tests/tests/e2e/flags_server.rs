//! What the server's flags do, where it shows from outside.

use std::time::Duration;

use http::StatusCode;
use jiff::{Timestamp, Unit};
use kiam_common::testing::metrics::value;
use kiam_tests::real::eventually;
use kiam_tests::sts::{Fault, Scope};
use serde_json::Value;

use crate::emulated::{Emulated, ask_for};
use crate::world::{BASE_ARN, metrics};

fn arn(role: &str) -> String {
    format!("{BASE_ARN}{role}")
}

#[tokio::test]
async fn region_session_and_session_duration_are_what_sts_is_asked_for() {
    let around = Emulated::start().await;
    let server = around.server().flag("--session", "cluster/a").flag("--session-duration", "15m");
    let (_server, agent) = around.run(server.flag("--region", "cn-north-1")).await;
    let pod = around.run_pod("reader", "reader");
    assert_eq!(ask_for(agent.addresses().main, pod, "reader").await.status, StatusCode::OK);
    let call = &around.sts.assumptions_of(&arn("reader"))[0];
    assert_eq!((call.session_name.as_str(), call.duration_seconds.as_deref()), ("kiam-cluster-a", Some("900")));
    assert_eq!(call.region, "cn-north-1");
}

#[tokio::test]
async fn session_refresh_is_how_long_before_the_end_a_session_is_renewed() {
    let around = Emulated::start().await;
    let server = around.server().flag("--session-duration", "2h").flag("--session-refresh", "20m");
    let (_server, agent) = around.run(server).await;
    let pod = around.run_pod("reader", "reader");
    assert_eq!(ask_for(agent.addresses().main, pod, "reader").await.status, StatusCode::OK);
    let log = around.logs.read();
    let issued: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let issued = issued.iter().find(|event| event["role"] == arn("reader") && !event["renew_at"].is_null());
    let time = |field: &str| -> Timestamp { issued.expect("it is logged")[field].as_str().unwrap().parse().unwrap() };
    let minutes = time("renew_at").until(time("expiration")).unwrap().total(Unit::Minute).unwrap();
    // Up to a tenth earlier, so that sessions that began together are not renewed together. STS's times have whole seconds.
    assert!((19.95..22.05).contains(&minutes), "{minutes}");
}

#[tokio::test]
async fn the_role_that_the_server_assumes_first_asks_for_the_others() {
    let around = Emulated::start().await;
    let (_server, agent) = around.run(around.server().flag("--assume-role-arn", arn("kiam-server"))).await;
    let pod = around.run_pod("reader", "reader");
    assert_eq!(ask_for(agent.addresses().main, pod, "reader").await.status, StatusCode::OK);
    let issued = around.sts.issued();
    let own = issued.iter().find(|issued| issued.role_arn == arn("kiam-server")).expect("the server's own session");
    assert_eq!(around.sts.assumptions_of(&arn("reader"))[0].caller_access_key, own.access_key_id);
}

#[tokio::test]
async fn the_base_arn_is_detected_from_the_instance_metadata_service() {
    let around = Emulated::start().await;
    let server = around.server().without("--role-base-arn").flag("--role-base-arn-autodetect", true);
    let server = server.env("AWS_EC2_METADATA_DISABLED", false);
    let server = server.env("AWS_EC2_METADATA_SERVICE_ENDPOINT", around.imds.url());
    let (_server, agent) = around.run(server).await;
    let pod = around.run_pod("reader", "reader");
    assert_eq!(ask_for(agent.addresses().main, pod, "reader").await.status, StatusCode::OK);
    assert_eq!(around.sts.assumptions_of("arn:aws:iam::123456789012:role/reader").len(), 1);
}

#[tokio::test]
async fn expressions_match_a_part_of_the_arn_when_they_need_not_be_strict() {
    for (strict, status) in [(true, StatusCode::FORBIDDEN), (false, StatusCode::OK)] {
        let around = Emulated::start().await;
        around.kube.put_namespace("apps", &[("iam.amazonaws.com/permitted", "role/read")]);
        let (_server, agent) = around.run(around.server().flag("--disable-strict-namespace-regexp", !strict)).await;
        let pod = around.run_pod("reader", "reader");
        assert_eq!(ask_for(agent.addresses().main, pod, "reader").await.status, status, "strict: {strict}");
    }
}

#[tokio::test]
async fn kube2iams_globs_permit_roles_when_they_are_the_policy() {
    let around = Emulated::start().await;
    let globs = r#"["read*", "arn:aws:iam::210987654321:role/*"]"#;
    around.kube.put_namespace("apps", &[("iam.amazonaws.com/allowed-roles", globs)]);
    let (_server, agent) = around.run(around.server().flag("--namespace-policy", "kube2iam")).await;
    for (name, role, status) in [
        ("own", "reader", StatusCode::OK),
        ("other-account", "arn:aws:iam::210987654321:role/any", StatusCode::OK),
        ("not-listed", "writer", StatusCode::FORBIDDEN),
    ] {
        let pod = around.run_pod(name, role);
        assert_eq!(ask_for(agent.addresses().main, pod, role).await.status, status, "{role}");
    }
}

#[tokio::test]
async fn no_more_fetchers_work_at_a_time_than_the_flag_says() {
    let around = Emulated::start().await;
    around.sts.set_fault(Scope::Everyone, Fault::Hang);
    let (server, _agent) = around.run(around.server().flag("--fetchers", 2)).await;
    for name in ["a", "b", "c", "d"] {
        around.run_pod(name, name);
    }
    eventually("two fetchers to be busy", async || {
        (value(&metrics(&server).await, "kiam_sts_assumerole_current") == Some(2.0)).then_some(())
    })
    .await;
    around.run_pod("late", "late");
    eventually("the last pod to be known", async || {
        (value(&metrics(&server).await, "kiam_k8s_pods") == Some(5.0)).then_some(())
    })
    .await;
    assert_eq!(value(&metrics(&server).await, "kiam_sts_assumerole_current"), Some(2.0));
    assert_eq!(around.sts.calls().len(), 2);
}

#[tokio::test]
async fn pods_beyond_the_prefetch_buffer_are_counted_and_served_all_the_same() {
    let around = Emulated::start().await;
    around.sts.set_fault(Scope::Role(arn("stuck")), Fault::Hang);
    let server = around.server().flag("--fetchers", 1).flag("--prefetch-buffer-size", 1);
    let (server, agent) = around.run(server).await;
    around.run_pod("stuck", "stuck");
    eventually("the fetcher to be busy", async || (!around.sts.calls().is_empty()).then_some(())).await;
    let pods = ["a", "b", "c"].map(|name| (around.run_pod(name, name), name));
    eventually("the buffer to overflow", async || {
        (value(&metrics(&server).await, "kiam_k8s_dropped_pods_total") >= Some(1.0)).then_some(())
    })
    .await;
    for (pod, role) in pods {
        assert_eq!(ask_for(agent.addresses().main, pod, role).await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn connections_end_at_their_age_and_no_request_is_lost() {
    let around = Emulated::start().await;
    let server = around.server().flag("--grpc-max-connection-age-duration", "300ms");
    let server = server.flag("--grpc-max-connection-age-grace-duration", "5s");
    let (server, agent) = around.run(server).await;
    let pod = around.run_pod("reader", "reader");
    let until = tokio::time::Instant::now() + Duration::from_secs(2);
    while tokio::time::Instant::now() < until {
        assert_eq!(ask_for(agent.addresses().main, pod, "reader").await.status, StatusCode::OK);
    }
    drop(server);
}

#[tokio::test]
async fn series_of_each_role_namespace_and_node_are_shown_only_when_they_are_enabled() {
    const FAMILIES: [(&str, &str); 4] = [
        ("roles", "kiam_role_requests_total{role=\"arn:aws:iam::123456789012:role/reader\"}"),
        ("roles", "kiam_role_soonest_expiry_seconds{role=\"arn:aws:iam::123456789012:role/reader\"}"),
        ("namespaces", "kiam_namespace_requests_total{decision=\"allowed\",namespace=\"apps\"}"),
        ("nodes", "kiam_node_unapplied_messages{node=\"node-a\"}"),
    ];
    for enabled in [None, Some("roles"), Some("namespaces"), Some("nodes"), Some("roles,namespaces,nodes")] {
        let around = Emulated::start().await;
        let server = enabled.iter().fold(around.server(), |server, kinds| server.flag("--metrics-enable", kinds));
        let (server, agent) = around.run(server).await;
        let agent_of_kiam = around.agent(server.addresses().main).flag("--push", false);
        let asking = around.logs.start("kiam", &agent_of_kiam).await;
        eventually("the node to be supplied", async || {
            (value(&metrics(&agent).await, "kiam_stream_connected") == Some(1.0)).then_some(())
        })
        .await;
        let pod = around.run_pod("reader", "reader");
        assert_eq!(ask_for(asking.addresses().main, pod, "reader").await.status, StatusCode::OK);
        let shown = metrics(&server).await;
        for (kind, series) in FAMILIES {
            let is_enabled = enabled.is_some_and(|kinds| kinds.split(',').any(|enabled| enabled == kind));
            assert_eq!(value(&shown, series).is_some(), is_enabled, "{series} with {enabled:?}");
        }
    }
}

#[tokio::test]
async fn the_server_tells_whether_kubernetes_and_sts_answer() {
    let mut around = Emulated::start().await;
    let (server, agent) = around.run(around.server()).await;
    let reads = async |series: &str| value(&metrics(&server).await, series);
    let pod = around.run_pod("reader", "reader");
    assert_eq!(ask_for(agent.addresses().main, pod, "reader").await.status, StatusCode::OK);
    assert_eq!((reads("kiam_kubernetes_reachable").await, reads("kiam_sts_reachable").await), (Some(1.0), Some(1.0)));
    around.sts.set_fault(Scope::Everyone, Fault::Reset);
    let writer = around.run_pod("writer", "writer");
    ask_for(agent.addresses().main, writer, "writer").await;
    assert_eq!(reads("kiam_sts_reachable").await, Some(0.0));
    around.kube.go_away().await;
    eventually("the loss to be noticed", async || {
        (reads("kiam_kubernetes_reachable").await == Some(0.0)).then_some(())
    })
    .await;
    around.kube.come_back().await.expect("the port is still free");
    eventually("the return to be noticed", async || {
        (reads("kiam_kubernetes_reachable").await == Some(1.0)).then_some(())
    })
    .await;
}
