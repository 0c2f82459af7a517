//! What the chart makes of its values.

use std::fs;
use std::path::Path;

use kiam_tests::netns::{inside, sh};
use kiam_tests::real::helm::chart;
use kiam_tests::real::program::Invocation;
use serde_json::{Value, json};

use crate::cluster::cluster;
use crate::container::PROGRAMS;
use crate::kustomize::{objects, of_kind};
use crate::settings::{Setting, settings};

#[tokio::test]
async fn what_every_setting_makes_is_taken_by_the_api_server() {
    let cluster = cluster().await;
    for Setting { what, values, lines } in settings() {
        let manifests = cluster.template(&values).unwrap_or_else(|said| panic!("{what}: {said}"));
        for line in lines {
            assert!(manifests.contains(line), "{what}: no {line:?} in\n{manifests}");
        }
        cluster.assert_taken(what, &manifests);
    }
}

#[tokio::test]
async fn helm_has_nothing_to_say_against_the_chart() {
    let cluster = cluster().await;
    for Setting { what, values, .. } in settings() {
        let values = cluster.helm.values(&values).display().to_string();
        let asked = "agent.host.interface=cali+,server.roleBaseArn=arn:aws:iam::123456789012:role/";
        let arguments = ["lint", "--strict", &chart().display().to_string(), "--values", &values, "--set", asked];
        let said = cluster.helm.try_run(&arguments);
        assert!(said.is_ok(), "{what}: {said:?}");
    }
}

#[tokio::test]
async fn values_that_cannot_be_are_refused_with_their_name_and_what_was_expected() {
    let cluster = cluster().await;
    for (values, words) in [
        (json!({"agent": {"host": {"interface": ""}}}), ["agent.host.interface", "eni+,vlan+"]),
        (json!({"agent": {"tlsSecret": "mine"}}), ["agent.tlsSecret and server.tlsSecret", "both"]),
        (json!({"server": {"tlsFiles": {"cert": "LS0t"}}}), ["agent.tlsFiles", "ca, cert and key"]),
        (
            json!({"server": {"service": {"port": 443}, "useHostNetwork": true}}),
            ["server.service.port", "1024 or more"],
        ),
        (json!({"server": {"service": {"targetPort": 443}}}), ["server.service.targetPort", "the same"]),
        (json!({"agent": {"host": {"iptablesRemoveOnShutdown": true}}}), ["iptablesRemoveOnShutdown", "by=agent"]),
        (
            json!({"networkPolicy": {"enabled": true}, "server": {"useHostNetwork": true}}),
            ["networkPolicy", "useHostNetwork"],
        ),
        (json!({"serviceAccounts": {"agent": {"create": false}}}), ["serviceAccounts.agent.name", "already"]),
        (json!({"server": {"nodeBinding": "maybe"}}), ["nodeBinding", "peer-ip"]),
        (json!({"server": {"roleBaseArn": "reader"}}), ["roleBaseArn", "pattern"]),
        (json!({"server": {"startupTaint": "a=true:NoSchedule"}}), ["startupTaint", "pattern"]),
        (
            json!({"server": {"startupTaint": "example.com/new", "nodeBinding": "off"}}),
            ["server.startupTaint", "token or peer-ip"],
        ),
        (
            json!({"agent": {"prometheus": {"tls": {"clientCertificates": true}}}}),
            ["agent.prometheus.tls.secret", "expected"],
        ),
        (
            json!({"server": {"prometheus": {"tls": {"secret": "mine"}, "servicemonitor": {"enabled": true}}}}),
            ["server.prometheus.servicemonitor.tlsConfig", "serverName"],
        ),
        (json!({"server": {"prometheus": {"servicemonitor": {"path": "/m?x=1"}}}}), ["path", "pattern"]),
        (json!({"psp": {"create": true}}), ["psp", "not allowed"]),
    ] {
        let said = cluster.template(&values).expect_err("values that cannot be");
        assert!(words.iter().all(|word| said.contains(word)), "{words:?} are not in {said}");
    }
}

#[tokio::test]
async fn servers_and_agents_tolerate_the_startup_taint_and_nothing_knows_it_where_there_is_none() {
    let cluster = cluster().await;
    let values = json!({"agent": {"tolerations": []}, "server": {"startupTaint": "example.com/new"}});
    let tolerated = json!([{"key": "example.com/new", "operator": "Exists"}]);
    for (values, tolerated) in [(values, tolerated), (json!({"agent": {"tolerations": []}}), Value::Null)] {
        let made = objects(&cluster.template(&values).expect("sound values"));
        for (kind, name) in [("Deployment", "kiam-server"), ("DaemonSet", "kiam-agent")] {
            assert_eq!(of_kind(&made, kind, name)["spec"]["template"]["spec"]["tolerations"], tolerated, "{name}");
        }
    }
    let defaults = cluster.template(&json!({})).expect("sound values");
    assert!(!defaults.contains("startup-taint") && !defaults.contains("resources: [nodes]"), "{defaults}");
}

/// Files under the chart's `files` are links to what is kept elsewhere.
#[test]
fn every_dashboard_and_rule_is_in_the_chart() {
    for kind in ["grafana", "prometheus"] {
        let linked = fs::canonicalize(chart().join("files").join(kind)).expect("a link");
        let kept = fs::canonicalize(Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(kind)).expect("files");
        assert_eq!(linked, kept);
    }
}

/// In a network of the test's own: it writes rules.
#[test]
fn the_init_container_writes_the_rules() {
    inside(async {
        sh("ip addr add 10.0.0.1/32 dev lo");
        let said = sh(&format!(
            "helm=${{KIAM_TEST_HELM:?}} && $helm template kiam {} --set agent.host.interface=cali+ \
             --show-only templates/agent.yaml 2>/dev/null",
            chart().display()
        ));
        let agent: Value = serde_norway::from_str(&said).expect("a DaemonSet");
        let init = &agent["spec"]["template"]["spec"]["initContainers"][0];
        let arguments = init["args"].as_array().expect("arguments").iter().filter_map(Value::as_str);
        let mut add = Invocation::new(PROGRAMS, &["agent", "intercept", "add"]).env("HOST_IP", "10.0.0.1");
        for argument in arguments.skip(2) {
            let (name, value) = argument.split_once('=').expect("a flag with a value");
            add = add.flag(name, value.replace("$(HOST_IP)", "10.0.0.1"));
        }
        assert_eq!(add.run(), (0, "the rules are there\n".into()));
        assert!(sh("nft list table inet kiam").contains("10.0.0.1:3100"));
    });
}
