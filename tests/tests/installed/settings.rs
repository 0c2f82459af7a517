//! Ways to set the chart up, and what each puts into the manifests.

use serde_json::{Value, json};

/// One of them.
pub(crate) struct Setting {
    pub(crate) what: &'static str,
    pub(crate) values: Value,
    /// Parts of lines that must be there.
    pub(crate) lines: &'static [&'static str],
}

/// All of them.
pub(crate) fn settings() -> impl Iterator<Item = Setting> {
    let all =
        [defaults(), of_the_interception(), of_the_servers(), of_certificates(), of_what_is_around(), of_ones_own()];
    all.into_iter().flatten().map(|(what, values, lines)| Setting { what, values, lines })
}

type Told = (&'static str, Value, &'static [&'static str]);

fn defaults() -> Vec<Told> {
    let lines = &[
        "kind: Deployment",
        "--server-address=kiam-server:9610",
        "--peers=kiam-server:9610",
        "--node-binding=token",
        "--server-token-file=/var/run/secrets/kiam/token",
        "--bind=$(HOST_IP)",
        "clusterIP: None",
        "kind: PodDisruptionBudget",
        "topologyKey: topology.kubernetes.io/zone",
        "priorityClassName: system-node-critical",
        "path: /ready",
        "runAsNonRoot: true",
    ];
    vec![("the defaults", json!({}), lines)]
}

fn of_the_interception() -> Vec<Told> {
    vec![
        (
            "rules kept by the agent",
            json!({"agent": {"interception": {"by": "agent"}, "host": {"dualStack": true, "interface": "eni+,vlan+"}}}),
            &["--host-interface=eni+,vlan+", "--host=$(HOST_IP)", "status.hostIPs", "add: [NET_ADMIN]"],
        ),
        (
            "rules of iptables",
            json!({"agent": {"interception": {"kind": "iptables", "containerCredentials": false}}}),
            &["add: [NET_ADMIN, NET_RAW]", "--no-intercept-container-credentials", "/run/xtables.lock"],
        ),
        (
            "somebody else's rules",
            json!({"agent": {"interception": {"by": "none"}, "host": {"dualStack": true}}}),
            &["--bind=::"],
        ),
    ]
}

fn of_the_servers() -> Vec<Told> {
    vec![
        (
            "servers on the host's network",
            json!({"server": {"useHostNetwork": true, "nodeBinding": "peer-ip", "roleBaseArn": ""}}),
            &["--role-base-arn-autodetect", "--prometheus-listen-addr=:9621", "--node-binding=peer-ip"],
        ),
        (
            "a DaemonSet of servers",
            json!({"server": {"deployment": {"enabled": false}, "service": {"port": 443}}}),
            &["--bind=:443", "net.ipv4.ip_unprivileged_port_start", "--server-address=kiam-server:443"],
        ),
        (
            "a startup taint",
            json!({"agent": {"tolerations": []}, "server": {"startupTaint": "example.com/new", "tolerations": [{"key": "gpu"}]}}),
            &["--startup-taint=example.com/new", "resources: [nodes]", "- key: example.com/new", "- key: gpu"],
        ),
    ]
}

fn of_certificates() -> Vec<Told> {
    let issuer = json!({"issuerRef": {"kind": "ClusterIssuer", "name": "ours"}});
    vec![
        (
            "cert-manager",
            json!({"tls": {"source": "cert-manager"}}),
            &[
                "isCA: true",
                "secretName: kiam-server-tls",
                "--cert=/etc/kiam/tls/tls.crt",
                "[digital signature, server auth, client auth]",
                "[digital signature, client auth]",
            ],
        ),
        (
            "an issuer of cert-manager's",
            json!({"tls": {"source": "cert-manager", "certManager": issuer}}),
            &["kind: ClusterIssuer", "name: ours"],
        ),
        (
            "secrets that are there",
            json!({"agent": {"tlsSecret": "a"}, "server": {"tlsSecret": "s"}}),
            &["secretName: a", "secretName: s", "--ca=/etc/kiam/tls/ca"],
        ),
        (
            "files",
            json!({
                "agent": {"tlsFiles": {"ca": "Y2E=", "cert": "Y2VydA==", "key": "a2V5"}},
                "server": {"tlsFiles": {"ca": "Y2E=", "cert": "Y2VydA==", "key": "a2V5"}},
            }),
            &["key: a2V5", "secretName: kiam-agent"],
        ),
    ]
}

fn of_what_is_around() -> Vec<Told> {
    let monitors =
        json!({"servicemonitor": {"enabled": true, "namespace": "kube-public", "labels": {"release": "prom"}}});
    let from = json!([{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}]);
    vec![
        (
            "monitors, rules and dashboards",
            json!({
                "agent": {"prometheus": monitors},
                "server": {"prometheus": monitors},
                "monitoring": {
                    "auth": "kubernetes",
                    "prometheusRule": {"enabled": true},
                    "dashboards": {"enabled": true},
                },
            }),
            &[
                "kind: ServiceMonitor",
                "kind: PodMonitor",
                "namespace: kube-public",
                "release: prom",
                "credentials: { name: kiam-scraper, key: token }",
                "kind: PrometheusRule",
                "alert: ",
                "grafana_dashboard:",
            ],
        ),
        (
            "a network policy",
            json!({"networkPolicy": {"enabled": true, "nodeCIDRs": ["10.0.0.0/16"], "metricsFrom": from}}),
            &["kind: NetworkPolicy", "cidr: \"10.0.0.0/16\"", "- podSelector:"],
        ),
        metrics_over_tls(),
    ]
}

fn metrics_over_tls() -> Told {
    let known = json!({
        "serverName": "kiam-metrics",
        "ca": {"secret": {"name": "prometheus-tls", "key": "ca.crt"}},
        "cert": {"secret": {"name": "prometheus-tls", "key": "tls.crt"}},
        "keySecret": {"name": "prometheus-tls", "key": "tls.key"},
    });
    let monitor = json!({"enabled": true, "path": "/kiam/metrics", "tlsConfig": known});
    let of = |secret: &str, clients: bool| {
        let tls = json!({"secret": secret, "clientCertificates": clients});
        json!({"prometheus": {"scrape": true, "tls": tls, "servicemonitor": monitor}})
    };
    let values = json!({"agent": of("agent-metrics", true), "server": of("server-metrics", false)});
    let lines = &[
        "--metrics-path=/kiam/metrics",
        "--metrics-tls-cert=/etc/kiam/metrics-tls/tls.crt",
        "--metrics-tls-key=/etc/kiam/metrics-tls/tls.key",
        "--metrics-client-ca=/etc/kiam/metrics-tls/ca.crt",
        "secretName: agent-metrics",
        "secretName: server-metrics",
        "httpGet: { path: /live, port: metrics, scheme: HTTPS }",
        "httpGet: { path: /ready, port: metrics, scheme: HTTPS }",
        "prometheus.io/scheme: https",
        "prometheus.io/path: /kiam/metrics",
        "path: /kiam/metrics",
        "scheme: https",
        "serverName: kiam-metrics",
        "nonResourceURLs: [\"/kiam/metrics\"]",
    ];
    ("metrics over TLS", values, lines)
}

fn of_ones_own() -> Vec<Told> {
    let agent = json!({
        "podAnnotations": {"a": "b"},
        "podLabels": {"c": "d"},
        "extraArgs": {"max-stale": "5s", "allow-user-data": ""},
        "extraEnv": [{"name": "AWS_REGION", "value": "eu-west-1"}],
        "extraHostPathMounts": [{"name": "certs", "mountPath": "/certs", "hostPath": "/etc/certs"}],
        "extraVolumes": [{"name": "more", "emptyDir": {}}],
        "extraVolumeMounts": [{"name": "more", "mountPath": "/more"}],
        "initContainers": [{"name": "first", "image": "first"}],
        "allowRoutes": ["spot", "placement"],
        "allowRouteRegexp": "/latest/x.*",
        "imdsTokens": "required",
        "updateStrategy": "OnDelete",
        "seLinuxOptions": {"type": "spc_t"},
        "prometheus": {"scrape": true},
        "keepaliveParams": {"time": "5s", "timeout": "1s", "permitWithoutStream": true},
    });
    let server = json!({
        "assumeRoleArn": "arn:aws:iam::123456789012:role/first",
        "region": "eu-west-1",
        "sessionDuration": "30m",
        "sessionRefresh": "10m",
        "sslCertHostPath": "/usr/share/ca-certificates",
        "keepaliveParams": {"maxConnectionAge": "5m"},
        "extraArgs": {"sts-rate": 50},
        "topologySpreadConstraints": [{"topologyKey": "rack", "maxSkew": 2, "whenUnsatisfiable": "DoNotSchedule"}],
    });
    let role = json!({"eks.amazonaws.com/role-arn": "arn:aws:iam::123456789012:role/kiam"});
    let accounts = json!({"server": {"annotations": role}});
    let values = json!({"imagePullSecrets": "registry", "agent": agent, "server": server, "serviceAccounts": accounts});
    let lines = &[
        "name: registry",
        "--max-stale=5s",
        "- --allow-user-data",
        "--sts-rate=50",
        "--allow-routes=spot,placement",
        "--allow-route-regexp=/latest/x.*",
        "--imds-tokens=required",
        "prometheus.io/port: \"9620\"",
        "--assume-role-arn=arn:aws:iam::123456789012:role/first",
        "--grpc-max-connection-age-duration=5m",
        "topologyKey: rack",
        "eks.amazonaws.com/role-arn",
        "mountPath: /certs",
    ];
    vec![("everything of one's own", values, lines)]
}
