//! Metrics over TLS, as the chart sets it up: both programs run with its command lines and the secrets that it mounts.

use std::net::SocketAddr;
use std::sync::Arc;

use http::{Request, StatusCode};
use kiam_common::args::TlsArgs;
use kiam_common::testing::Pki;
use kiam_common::tls::{Identity, install_crypto_provider};
use kiam_tests::real::http::{Answer, Connection};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::cluster::cluster;
use crate::programs::{Installed, Programs};

/// What the certificate is for.
const NAME: &str = "kiam-metrics";
const PATH: &str = "/kiam/metrics";

/// A client that shows these files' certificate.
async fn known(files: &TlsArgs) -> ClientConfig {
    let mut config = ClientConfig::clone(&*Identity::load(files).await.expect("good files").client_config());
    config.alpn_protocols.clear();
    config
}

/// A client that has none, and trusts the files' authority.
fn unknown(files: &TlsArgs) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&files.ca).expect("an authority")).expect("a good one");
    ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()
}

async fn ask(client: ClientConfig, to: SocketAddr, path: &str) -> Answer {
    let tcp = TcpStream::connect(to).await.expect("it listens");
    let name = ServerName::try_from(NAME).expect("a name");
    let tls = TlsConnector::from(Arc::new(client)).connect(name, tcp).await.expect("it speaks TLS");
    let mut connection = Connection::over(tls, NAME).await.expect("and HTTP");
    connection.send(Request::get(path).body(String::new()).expect("a request")).await.expect("an answer")
}

#[tokio::test]
async fn metrics_are_for_clients_with_a_certificate_and_probes_for_all_where_the_chart_is_told_so() {
    install_crypto_provider();
    let cluster = cluster().await;
    let namespace = cluster.namespace(&[]).await.name;
    let pki = Pki::new();
    let (own, prometheus) = (pki.issue("own", &[NAME]), pki.issue("prometheus", &["prometheus"]));
    let files = [&own.cert, &own.key, &own.ca].map(|file| format!("--from-file={}", file.display()));
    let create = ["create", "secret", "generic", "metrics", "--namespace", &namespace, &files[0], &files[1], &files[2]];
    cluster.kubernetes.kubectl(&create);

    let metrics = json!({"prometheus": {
        "tls": {"secret": "metrics", "clientCertificates": true},
        "servicemonitor": {"path": PATH},
    }});
    let values = json!({"agent": metrics, "server": metrics, "monitoring": {"auth": "none"}});
    cluster.deploy("install", "kiam-tls", &namespace, &values);
    let programs = Programs::start(&Installed {
        cluster,
        namespace: &namespace,
        server: "deployment/kiam-tls-server",
        agent: "daemonset/kiam-tls-agent",
        account: None,
        open_metrics: false,
    })
    .await;
    for program in [&programs.server, &programs.agent] {
        let (to, name) = (program.addresses().ops, program.name());
        assert_eq!(ask(known(&prometheus).await, to, PATH).await.status, StatusCode::OK, "{name}");
        assert_eq!(ask(unknown(&own), to, PATH).await.status, StatusCode::FORBIDDEN, "{name}");
        assert_eq!(ask(unknown(&own), to, "/live").await.status, StatusCode::OK, "{name}");
    }
}
