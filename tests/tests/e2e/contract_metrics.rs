//! The metrics of the contract: every series by its name, type, labels and buckets, at 0 from the first scrape, in a
//! form that promtool and a real Prometheus take.

use std::collections::BTreeSet;

use kiam_common::testing::metrics::value;
use kiam_tests::real::http::{LOCALHOST, get};
use kiam_tests::real::namespace::ROLE;
use kiam_tests::real::prometheus::{Prometheus, lint};

use crate::exposition::Family;
use crate::shared;
use crate::world::{CREDENTIALS, World, metrics};

/// Name, type and labels.
type Series = (&'static str, &'static str, &'static [&'static str]);

const GRPC: &[&str] = &["grpc_method", "grpc_service", "grpc_type"];
const GRPC_HANDLED: &[&str] = &["grpc_code", "grpc_method", "grpc_service", "grpc_type"];

/// What every program tells of itself.
const BOTH: [Series; 6] = [
    ("kiam_build_info", "gauge", &["version"]),
    ("kiam_runtime_workers", "gauge", &[]),
    ("kiam_runtime_alive_tasks", "gauge", &[]),
    ("kiam_runtime_global_queue_depth", "gauge", &[]),
    ("kiam_runtime_busy_seconds_total", "counter", &[]),
    ("kiam_metric_errors_total", "counter", &[]),
];

const AGENT: [Series; 31] = [
    ("kiam_metadata_handler_latency_seconds", "histogram", &["handler"]),
    ("kiam_metadata_credential_fetch_errors_total", "counter", &["handler"]),
    ("kiam_metadata_credential_encode_errors_total", "counter", &["handler"]),
    ("kiam_metadata_find_role_errors_total", "counter", &["handler"]),
    ("kiam_metadata_empty_role_total", "counter", &["handler"]),
    ("kiam_metadata_success_total", "counter", &["handler"]),
    ("kiam_metadata_responses_total", "counter", &["code", "handler"]),
    ("kiam_metadata_proxy_requests_blocked_total", "counter", &[]),
    ("kiam_metadata_refused_total", "counter", &["reason"]),
    ("kiam_metadata_server_wait_seconds", "histogram", &["handler"]),
    ("kiam_requests_rejected_total", "counter", &["reason"]),
    ("kiam_requests_in_flight", "gauge", &[]),
    ("kiam_connections", "gauge", &["state"]),
    ("kiam_server_reachable", "gauge", &[]),
    ("kiam_metadata_requests_by_version_total", "counter", &["version"]),
    ("kiam_metadata_ip_query_total", "counter", &[]),
    ("kiam_interception_connections_total", "counter", &["via"]),
    ("kiam_ledger_answers_total", "counter", &["from"]),
    ("kiam_ledger_bindings", "gauge", &["standing"]),
    ("kiam_ledger_sessions", "gauge", &[]),
    ("kiam_ledger_skipped_total", "counter", &[]),
    ("kiam_scraper_reviews_total", "counter", &["outcome"]),
    ("kiam_stream_connected", "gauge", &[]),
    ("kiam_stream_moves_total", "counter", &["why"]),
    ("grpc_client_started_total", "counter", GRPC),
    ("grpc_client_msg_received_total", "counter", GRPC),
    ("grpc_client_msg_sent_total", "counter", GRPC),
    ("grpc_client_handled_total", "counter", GRPC_HANDLED),
    ("grpc_client_tls_certificate_expiry_seconds", "gauge", &[]),
    ("grpc_client_tls_certificate_update_error", "gauge", &[]),
    ("grpc_client_tls_certificate_verify_error", "gauge", &[]),
];

const SERVER: [Series; 37] = [
    ("kiam_sts_cacheSize", "gauge", &[]),
    ("kiam_sts_cache_hit_total", "counter", &[]),
    ("kiam_sts_cache_miss_total", "counter", &[]),
    ("kiam_sts_issuing_errors_total", "counter", &[]),
    ("kiam_sts_assumerole_timing_seconds", "histogram", &[]),
    ("kiam_sts_assumerole_current", "gauge", &[]),
    ("kiam_sts_attempts_total", "counter", &["outcome"]),
    ("kiam_sts_reachable", "gauge", &[]),
    ("kiam_kubernetes_reachable", "gauge", &[]),
    ("kiam_connections", "gauge", &["state"]),
    ("kiam_vault_wait_seconds", "histogram", &[]),
    ("kiam_vault_queue_seconds", "histogram", &[]),
    ("kiam_nodes_configurations", "gauge", &[]),
    ("kiam_nodes_interception_broken", "gauge", &[]),
    ("kiam_vault_entries", "gauge", &["state"]),
    ("kiam_vault_refreshes_total", "counter", &["outcome"]),
    ("kiam_vault_queue_depth", "gauge", &["priority"]),
    ("kiam_vault_oldest_waiting_seconds", "gauge", &[]),
    ("kiam_vault_evicted_total", "counter", &[]),
    ("kiam_k8s_dropped_pods_total", "counter", &[]),
    ("kiam_node_binding_refusals_total", "counter", &["reason"]),
    ("kiam_node_unbound_calls_total", "counter", &[]),
    ("kiam_token_reviews_total", "counter", &["outcome"]),
    ("kiam_scraper_reviews_total", "counter", &["outcome"]),
    ("kiam_nodes_connected", "gauge", &[]),
    ("kiam_fleet_metrics_agents", "gauge", &[]),
    ("kiam_fleet_metrics_missing", "gauge", &[]),
    ("kiam_nodes_version_mismatch", "gauge", &[]),
    ("kiam_node_streams_total", "counter", &["end"]),
    ("kiam_node_messages_total", "counter", &["kind"]),
    ("grpc_server_started_total", "counter", GRPC),
    ("grpc_server_msg_received_total", "counter", GRPC),
    ("grpc_server_msg_sent_total", "counter", GRPC),
    ("grpc_server_handled_total", "counter", GRPC_HANDLED),
    ("grpc_server_tls_certificate_expiry_seconds", "gauge", &[]),
    ("grpc_server_tls_certificate_update_error", "gauge", &[]),
    ("grpc_server_tls_certificate_verify_error", "gauge", &[]),
];

fn assert_contract(metrics: &str, contract: &[Series]) {
    for (name, kind, labels) in contract {
        let family = Family::find(metrics, name).unwrap_or_else(|| panic!("{name} is missing"));
        assert_eq!(family.kind, *kind, "{name}");
        let wanted: BTreeSet<&str> = labels.iter().copied().collect();
        assert_eq!(family.labels, wanted, "{name}");
        if *kind == "histogram" {
            let buckets: Vec<f64> = match *name {
                "kiam_metadata_server_wait_seconds" | "kiam_vault_wait_seconds" | "kiam_vault_queue_seconds" => {
                    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0].into()
                }
                _ => (0..=12).map(|n| 0.001 * f64::from(1 << n)).collect(),
            };
            assert_eq!(family.buckets, buckets, "{name}");
        }
    }
}

/// Requests of a pod with a role, one without, one that policy forbids, and one for a path that is not passed on.
async fn make_traffic(world: &World) {
    let (open, closed) = (world.namespace(".*").await, world.namespace("nothing").await);
    let reader = open.run("reader", &[(ROLE, "reader")]).await;
    let forbidden = closed.run("forbidden", &[(ROLE, "reader")]).await;
    let bystander = open.run("bystander", &[]).await;
    world.ask(&reader, CREDENTIALS).await;
    world.ask_for(&reader, "reader").await;
    world.ask_for(&forbidden, "reader").await;
    world.ask(&bystander, CREDENTIALS).await;
    world.ask(&reader, "/latest/user-data").await;
    get(LOCALHOST, world.agent_addr(), "/health").await;
}

#[tokio::test]
async fn every_series_is_there_from_the_first_scrape_and_after_traffic() {
    let world = World::start().await;
    for program in [&world.agent, &world.server] {
        assert_contract(&metrics(program).await, &BOTH);
    }
    assert_contract(&metrics(&world.agent).await, &AGENT);
    assert_contract(&metrics(&world.server).await, &SERVER);
    make_traffic(&world).await;
    assert_contract(&metrics(&world.agent).await, &AGENT);
    assert_contract(&metrics(&world.server).await, &SERVER);
}

#[tokio::test]
async fn bounded_labels_are_there_at_zero_before_anything_happens() {
    let world = World::start().await;
    let agent = metrics(&world.agent).await;
    for handler in ["roleName", "credentials", "health", "proxy"] {
        for series in [
            format!("kiam_metadata_success_total{{handler=\"{handler}\"}}"),
            format!("kiam_metadata_responses_total{{code=\"200\",handler=\"{handler}\"}}"),
            format!("kiam_metadata_handler_latency_seconds_count{{handler=\"{handler}\"}}"),
        ] {
            assert_eq!(value(&agent, &series), Some(0.0), "{series}");
        }
    }
    let server = metrics(&world.server).await;
    for method in ["GetPodRole", "GetPodCredentials"] {
        let labels = format!("grpc_method=\"{method}\",grpc_service=\"kiam.KiamService\",grpc_type=\"unary\"");
        assert_eq!(value(&server, &format!("grpc_server_started_total{{{labels}}}")), Some(0.0));
        for code in ["OK", "NotFound", "PermissionDenied", "Unavailable"] {
            let series = format!("grpc_server_handled_total{{grpc_code=\"{code}\",{labels}}}");
            assert_eq!(value(&server, &series), Some(0.0), "{series}");
        }
    }
}

#[tokio::test]
async fn what_happens_is_counted_where_the_contract_says() {
    // As with Kiam's agents, each request is a call.
    let moto = shared::moto().await.url();
    let world = World::with_flags(moto, |server| server, |agent| agent.flag("--push", false)).await;
    make_traffic(&world).await;
    let agent = metrics(&world.agent).await;
    for (series, wanted) in [
        (r#"kiam_metadata_success_total{handler="roleName"}"#, 1.0),
        (r#"kiam_metadata_success_total{handler="credentials"}"#, 1.0),
        (r#"kiam_metadata_success_total{handler="health"}"#, 1.0),
        (r#"kiam_metadata_responses_total{code="200",handler="credentials"}"#, 1.0),
        (r#"kiam_metadata_responses_total{code="403",handler="credentials"}"#, 1.0),
        (r#"kiam_metadata_responses_total{code="404",handler="roleName"}"#, 1.0),
        (r#"kiam_metadata_responses_total{code="404",handler="proxy"}"#, 1.0),
        (r#"kiam_metadata_handler_latency_seconds_count{handler="credentials"}"#, 2.0),
        (r#"kiam_metadata_credential_fetch_errors_total{handler="credentials"}"#, 1.0),
        (r#"kiam_metadata_empty_role_total{handler="roleName"}"#, 1.0),
        ("kiam_metadata_proxy_requests_blocked_total", 1.0),
        (r#"kiam_requests_rejected_total{reason="forbidden"}"#, 1.0),
        (r#"kiam_requests_rejected_total{reason="no_role"}"#, 1.0),
        (r#"kiam_requests_rejected_total{reason="not_served"}"#, 1.0),
        (r#"kiam_metadata_server_wait_seconds_count{handler="credentials"}"#, 2.0),
        ("kiam_requests_in_flight", 0.0),
        ("kiam_server_reachable", 1.0),
    ] {
        assert_eq!(value(&agent, series), Some(wanted), "{series}");
    }
    let server = metrics(&world.server).await;
    let credentials = r#"grpc_method="GetPodCredentials",grpc_service="kiam.KiamService",grpc_type="unary""#;
    for (series, wanted) in [
        (format!("grpc_server_started_total{{{credentials}}}"), 2.0),
        (format!("grpc_server_msg_received_total{{{credentials}}}"), 2.0),
        (format!("grpc_server_msg_sent_total{{{credentials}}}"), 1.0),
        (format!("grpc_server_handled_total{{grpc_code=\"OK\",{credentials}}}"), 1.0),
        (format!("grpc_server_handled_total{{grpc_code=\"PermissionDenied\",{credentials}}}"), 1.0),
        ("kiam_sts_assumerole_current".into(), 0.0),
        ("kiam_sts_issuing_errors_total".into(), 0.0),
        ("kiam_sts_reachable".into(), 1.0),
        ("kiam_kubernetes_reachable".into(), 1.0),
    ] {
        assert_eq!(value(&server, &series), Some(wanted), "{series}");
    }
    let read = |series: &str| value(&server, series).expect("the series");
    assert!(read("kiam_sts_cacheSize") >= 1.0);
    assert!(read("kiam_sts_assumerole_timing_seconds_count") >= 1.0);
    assert!(read("kiam_sts_cache_hit_total") + read("kiam_sts_cache_miss_total") >= 1.0);
}

#[tokio::test]
async fn promtool_complains_of_nothing_but_kiams_own_spelling() {
    let world = World::start().await;
    make_traffic(&world).await;
    assert_eq!(lint(&metrics(&world.agent).await), Vec::<String>::new());
    let complaints = lint(&metrics(&world.server).await);
    assert!(complaints.len() == 1 && complaints[0].starts_with("kiam_sts_cacheSize "), "{complaints:?}");
}

#[tokio::test]
async fn a_real_prometheus_scrapes_and_queries_both_programs() {
    let world = World::start().await;
    let targets = [("agent", world.agent.addresses().ops), ("server", world.server.addresses().ops)];
    let prometheus = Prometheus::scraping(&targets);
    let up = prometheus.query("sum(up) == 2").await;
    assert_eq!(up.len(), 1, "{up:?}");
    make_traffic(&world).await;
    for query in [
        r#"sum(rate(kiam_metadata_responses_total{job="agent",handler="credentials",code="200"}[1m])) > 0"#,
        r#"histogram_quantile(0.99, rate(kiam_metadata_handler_latency_seconds_bucket{handler="credentials"}[1m])) > 0"#,
        r#"sum(increase(grpc_server_handled_total{job="server",grpc_code="PermissionDenied"}[1m])) > 0"#,
        r#"sum(increase(grpc_client_handled_total{job="agent",grpc_code="PermissionDenied"}[1m])) > 0"#,
        r#"kiam_sts_cacheSize{job="server"} >= 1"#,
        "grpc_server_tls_certificate_expiry_seconds > time()",
    ] {
        assert!(!prometheus.query(query).await.is_empty(), "{query}");
    }
}
