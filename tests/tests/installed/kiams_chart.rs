//! A release of Kiam's own chart that is upgraded to this one, as `deploy/migrating.md` says.

use http::StatusCode;
use kiam_tests::real::namespace::PERMITTED;
use rcgen::string::Ia5String;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use serde_json::{Value, json};

use crate::cluster::{Cluster, cluster};
use crate::programs::{Installed, Programs, reader};

/// Workloads with the names, selectors and secrets that Kiam's chart gave them.
const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/installed/kiams_chart");

/// The values of a usual installation of Kiam, as its documents have them, and what has to be added.
fn values() -> Value {
    json!({
        "agent": {
            "image": {"repository": "registry/kiam-agent", "tag": "1"},
            "host": {"iptables": true, "interface": "cali+", "port": 8181},
            "gatewayTimeoutCreation": "5s",
            "whiteListRouteRegexp": "/latest/meta-data/placement/.*",
            "log": {"level": "warn", "jsonOutput": true},
            "prometheus": {"port": 9620, "syncInterval": "5s", "scrape": true},
            "updateStrategy": "RollingUpdate",
            "tolerations": [{"operator": "Exists"}],
            "extraArgs": {"no-push": ""},
        },
        "server": {
            "image": {"repository": "registry/kiam-server", "tag": "1"},
            "deployment": {"enabled": false, "replicas": 3},
            "service": {"port": 9610, "targetPort": 9610},
            "assumeRoleArn": "arn:aws:iam::123456789012:role/kiam-server",
            "roleBaseArn": "arn:aws:iam::123456789012:role/",
            "sessionDuration": "15m",
            "cache": {"syncInterval": "1m"},
            "sslCertHostPath": "/etc/pki/ca-trust/extracted/pem",
            "nodeSelector": {"kubernetes.io/role": "master"},
            "nodeBinding": "off",
        },
    })
}

/// The secrets of a release of Kiam's chart: the server's certificate names the service with its port, too, which is no
/// name at all.
fn certificates(release: &str) -> Value {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().expect("a key")).expect("an authority");
    let sign = |names: &[&str]| {
        let mut params = CertificateParams::default();
        let name = |name: &&str| SanType::DnsName(Ia5String::try_from(*name).expect("ASCII"));
        params.subject_alt_names = names.iter().map(name).collect();
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &authority).expect("a certificate");
        json!({"ca": authority.pem(), "cert": certificate.pem(), "key": key.serialize_pem()})
    };
    let server = format!("{release}-server");
    let names = [&server, &format!("{server}:443"), "127.0.0.1:443", "localhost"];
    json!({"agent": sign(&["Kiam Agent"]), "server": sign(&names)})
}

fn secrets(cluster: &Cluster, namespace: &str) -> [Value; 2] {
    ["agent", "server"].map(|name| cluster.get(namespace, &format!("secret/kiam-old-{name}"))["data"].take())
}

#[tokio::test]
async fn a_release_of_kiams_chart_is_upgraded_in_place_keeps_its_certificates_and_works() {
    let cluster = cluster().await;
    let namespace = cluster.namespace(&[(PERMITTED, ".*")]).await;
    let old = cluster.helm.values(&certificates("kiam-old")).display().to_string();
    cluster.helm.run(&["install", "kiam-old", CHART, "--namespace", &namespace.name, "--values", &old]);
    let before = secrets(cluster, &namespace.name);
    assert!(before.iter().all(Value::is_object), "{before:?}");

    cluster.deploy("upgrade", "kiam-old", &namespace.name, &values());
    assert!(secrets(cluster, &namespace.name) == before, "other certificates");
    assert_eq!(cluster.get(&namespace.name, "secret/kiam-old-ca"), Value::Null);
    let programs = Programs::start(&Installed {
        cluster,
        namespace: &namespace.name,
        server: "daemonset/kiam-old-server",
        agent: "daemonset/kiam-old-agent",
        account: None,
        open_metrics: true,
    })
    .await;
    let answer = programs.ask(&reader(&namespace, "reader").await).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    drop(programs);

    // And the way back.
    cluster.helm.run(&["rollback", "kiam-old", "1", "--namespace", &namespace.name]);
    let agent = cluster.get(&namespace.name, "daemonset/kiam-old-agent");
    assert_eq!(agent["spec"]["template"]["spec"]["containers"][0]["image"], "quay.io/uswitch/kiam:v4.2");
}
