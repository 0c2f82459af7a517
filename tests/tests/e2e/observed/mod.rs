//! A real Prometheus, as `kiam-server install metrics` sets it up, finds a running fleet by `/sd` and scrapes it under
//! traffic and faults: then every query of every dashboard and rule has an answer, and what is wrong raises its alert.

mod promql;
mod scene;

use kiam_tests::dashboards::{Rendered, render};
use kiam_tests::netns::inside;
use kiam_tests::real::eventually;
use kiam_tests::real::prometheus::{CONFIGURATION, Prometheus, lint};
use regex::Regex;

use crate::install_metrics::{file, objects, printed};
use crate::rules::{FILES, Rule};
use scene::{SCRAPER, Scene};

/// What goes wrong in the scene from the beginning, by the alerts that say so.
const EXPECTED: [&str; 11] = [
    "KiamDeniedRolesRising",
    "KiamIpQueryUsed",
    "KiamNodeBindingRefusals",
    "KiamOwnCredentialsRefused",
    "KiamRequestsFailing",
    "KiamRolesRefused",
    "KiamStartupTaintsStay",
    "KiamStsFailing",
    "KiamStsThrottled",
    "KiamV1MetadataUse",
    "KiamWrongNode",
];

/// What goes wrong when STS and the Kubernetes API are away and a certificate is spoilt.
const ALONE: [&str; 3] = ["KiamCertificateUnusable", "KiamKubernetesUnreachable", "KiamStsUnreachable"];

/// And when the server is away, too.
const UNSERVED: [&str; 4] = ["KiamNoPush", "KiamNoServer", "KiamServerDown", "KiamServerUnreachable"];

/// Prometheus as it is installed, but for the pace, for how long something must be wrong, and for what a pod would mount.
fn installed(scene: &Scene) -> Prometheus {
    let objects = objects(&printed(&[("--server", &scene.status_listener()), ("--ca-secret", "kiam-metrics-ca")]));
    let configuration = file(&objects, "kiam-prometheus", "prometheus.yaml")
        .replace("interval: 30s", "interval: 1s")
        .replace("/var/run/secrets/kubernetes.io/serviceaccount/token", "token")
        .replace("/etc/prometheus/tls/", "")
        .replace("/etc/prometheus/rules/*.yaml", "rules-*.yaml");
    let kube_state_metrics = format!(
        "  - job_name: kube-state-metrics\n    static_configs: [{{ targets: ['{}'] }}]\n",
        scene.kube_state_metrics()
    );
    let pending = Regex::new(r"for: \d+[mh]").expect("sound");
    let rules = FILES.map(|name| {
        let rules = pending.replace_all(file(&objects, "kiam-prometheus-rules", name), "for: 0s");
        (format!("rules-{name}"), rules.into_owned())
    });
    let mut files = vec![
        (CONFIGURATION, configuration + &kube_state_metrics),
        ("token", SCRAPER.into()),
        ("ca.crt", scene.authority()),
    ];
    files.extend(rules.iter().map(|(name, text)| (name.as_str(), text.clone())));
    Prometheus::with_files(&files)
}

/// Goes on until the query has an answer with a number in it.
async fn assert_answered(scene: &Scene, prometheus: &Prometheus, whose: &str, query: &str) {
    eventually(&format!("{whose}: an answer to {query}"), async || {
        let samples = prometheus.evaluate(query).await.unwrap_or_else(|error| panic!("{whose}: {query}: {error}"));
        if samples.iter().any(|sample| !sample.value.is_nan()) {
            return Some(());
        }
        scene.go_on().await;
        None
    })
    .await;
}

/// A dashboard's queries, with every value of what can be chosen one by one, and with all of what can be chosen at once.
async fn queries(prometheus: &Prometheus, dashboard: &Rendered) -> Vec<String> {
    let panels = dashboard.source.rows.iter().flat_map(|row| &row.panels);
    let mut queries: Vec<String> = panels.flat_map(|panel| &panel.queries).map(|query| query.expr.clone()).collect();
    for variable in &dashboard.source.variables {
        let path = format!("/api/v1/label/{}/values?match[]={}", variable.source, variable.series);
        let values = eventually(&format!("values of ${}", variable.name), async || {
            let values = prometheus.get(&path).await.ok()?;
            let values: Vec<String> = serde_json::from_value(values).ok()?;
            (!values.is_empty()).then_some(values)
        })
        .await;
        let values = if variable.single { values } else { vec![".*".into()] };
        let name = format!("${}", variable.name);
        queries = queries.iter().flat_map(|query| values.iter().map(|value| query.replace(&name, value))).collect();
    }
    queries.iter().map(|query| query.replace("$__rate_interval", "1m")).collect()
}

async fn assert_targets_are_found(prometheus: &Prometheus) {
    // A scrape may take longer than Prometheus waits.
    eventually("all targets to be scraped", async || {
        let found = prometheus.query(r#"count by (job, node) (up{job=~"kiam-.*"} == 1)"#).await;
        let mut found: Vec<String> = found
            .iter()
            .map(|target| format!("{}/{}", target.labels["job"], target.labels["node"]).replace('"', ""))
            .collect();
        found.sort();
        (found == ["kiam-agent/node-a", "kiam-agent/node-b", "kiam-server/null"]).then_some(())
    })
    .await;
}

async fn assert_rules_are_answered(scene: &Scene, prometheus: &Prometheus) {
    for rule in Rule::all() {
        match rule.alert() {
            None => assert_answered(scene, prometheus, "a recording rule", rule.expr()).await,
            // An alert may have nothing to say, of series that are there.
            Some(alert) => {
                for selector in promql::selectors(rule.expr()) {
                    assert_answered(scene, prometheus, alert, &selector).await;
                }
            }
        }
    }
    for alert in EXPECTED {
        assert_answered(scene, prometheus, "what goes wrong", &firing(alert)).await;
    }
    let rules = prometheus.get("/api/v1/rules").await.expect("the rules").to_string();
    assert!(rules.contains("KiamWrongNode") && !rules.contains("error expanding"), "{rules}");
    assert!(!rules.contains(r#""health":"err""#), "{rules}");
}

fn firing(alert: &str) -> String {
    format!("ALERTS{{alertname=\"{alert}\", alertstate=\"firing\"}}")
}

/// Takes away what the scene lives on, and waits for what Prometheus says to it.
async fn assert_losses_are_told(mut scene: Scene, prometheus: &Prometheus) {
    scene.lose_what_is_around().await;
    for alert in ALONE {
        prometheus.query(&firing(alert)).await;
    }
    scene.lose_the_server().await;
    for alert in UNSERVED {
        prometheus.query(&firing(alert)).await;
    }
    // Nobody tells Prometheus any more what there is; it goes on with what it was told last.
    scene.lose_an_agent().await;
    prometheus.query(&firing("KiamAgentDown")).await;
}

#[test]
fn every_query_of_every_dashboard_and_rule_is_answered_by_a_fleet_under_traffic_and_faults() {
    inside(async {
        let scene = Scene::start().await;
        let prometheus = installed(&scene);
        eventually("both agents to be found", async || {
            scene.go_on().await;
            let found = prometheus.evaluate(r#"up{job="kiam-agent", node=~"node-.+"} == 1"#).await.ok()?;
            (found.len() == 2).then_some(())
        })
        .await;
        assert_targets_are_found(&prometheus).await;
        for dashboard in render().unwrap_or_else(|why| panic!("{why}")) {
            for query in queries(&prometheus, &dashboard).await {
                assert_answered(&scene, &prometheus, &dashboard.source.uid, &query).await;
            }
        }
        assert_rules_are_answered(&scene, &prometheus).await;
        assert_eq!(lint(&scene.metrics(scene.agent()).await), Vec::<String>::new());
        // As Kiam spells it.
        let complaints = lint(&scene.metrics(scene.server()).await);
        assert!(complaints.len() == 1 && complaints[0].starts_with("kiam_sts_cacheSize "), "{complaints:?}");
        assert_losses_are_told(scene, &prometheus).await;
    });
}
