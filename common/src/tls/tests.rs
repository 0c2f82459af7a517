use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt as _;
use kiam_proto::kiam::GetHealthRequest;
use kiam_proto::kiam::kiam_service_client::KiamServiceClient;
use prometheus::TextEncoder;
use rustls::HandshakeKind;
use rustls_pki_types::ServerName;
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tonic::Status;
use tonic::transport::Channel;

use super::*;
use crate::args::{KeepaliveArgs, MetricsFiles, TlsArgs};
use crate::channel::connect_lazily;
use crate::clock::Clock;
use crate::registry::Registry;
use crate::shutdown::Shutdown;
use crate::testing::metrics::count;
use crate::testing::{Pki, serve_health};

const HOST: &str = "kiam-server";

fn channel(address: SocketAddr, host: &str, identity: &Arc<Identity>) -> Channel {
    let keepalive = KeepaliveArgs {
        grpc_keepalive_time_duration: Duration::from_secs(10),
        grpc_keepalive_timeout_duration: Duration::from_secs(2),
        grpc_keepalive_permit_without_stream: false,
    };
    connect_lazily(address, host, identity, &keepalive, Duration::from_secs(5))
}

async fn ask(channel: Channel) -> Result<String, Status> {
    KiamServiceClient::new(channel).get_health(GetHealthRequest {}).await.map(|status| status.into_inner().message)
}

/// A program with its files, and a server and a client over it.
struct Peers {
    server: Arc<Identity>,
    server_files: TlsArgs,
    client: Arc<Identity>,
    client_files: TlsArgs,
    address: SocketAddr,
}

impl Peers {
    async fn start(pki: &Pki) -> Self {
        let (server_files, client_files) = (pki.issue("server", &[HOST]), pki.issue("agent", &["kiam-agent"]));
        let server = Identity::load(&server_files).await.unwrap();
        let client = Identity::load(&client_files).await.unwrap();
        let address = serve_health(server.clone(), "ok", Shutdown::new()).await;
        Self { server, server_files, client, client_files, address }
    }

    fn channel(&self) -> Channel {
        channel(self.address, HOST, &self.client)
    }

    async fn reissue_client(&self, pki: &Pki) {
        pki.reissue(&self.client_files, &["kiam-agent"]);
        self.client.refresh().await.unwrap();
    }

    async fn reissue_server(&self, pki: &Pki) {
        pki.reissue(&self.server_files, &[HOST]);
        self.server.refresh().await.unwrap();
    }
}

#[tokio::test]
async fn both_sides_must_chain_to_the_authority_and_the_server_must_have_the_name() {
    let pki = Pki::new();
    let peers = Peers::start(&pki).await;
    assert_eq!(ask(peers.channel()).await.unwrap(), "ok");
    ask(channel(peers.address, "another-name", &peers.client)).await.unwrap_err();
    ask(channel(peers.address, "not a name", &peers.client)).await.unwrap_err();

    let stranger = Identity::load(&Pki::new().issue("agent", &["kiam-agent"])).await.unwrap();
    ask(channel(peers.address, HOST, &stranger)).await.unwrap_err();
    let expired = Identity::load(&pki.issue_expired("expired", &["kiam-agent"])).await.unwrap();
    ask(channel(peers.address, HOST, &expired)).await.unwrap_err();
}

#[tokio::test]
async fn a_client_without_a_certificate_is_refused() {
    let pki = Pki::new();
    let peers = Peers::start(&pki).await;
    let bare = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(peers.client.current.load().roots.clone())
        .with_no_client_auth();
    connect(peers.address, Arc::new(bare)).await.unwrap_err();
}

#[tokio::test]
async fn no_call_fails_while_certificates_and_authorities_rotate() {
    let mut pki = Pki::new();
    let peers = Peers::start(&pki).await;
    let old = peers.channel();
    for _ in 0..5 {
        for step in [Pki::announce_authority, Pki::switch_authority, Pki::forget_authorities] {
            step(&mut pki);
            peers.reissue_server(&pki).await;
            assert_eq!(ask(peers.channel()).await.unwrap(), "ok");
            peers.reissue_client(&pki).await;
            assert_eq!(ask(peers.channel()).await.unwrap(), "ok");
        }
    }
    assert_eq!(ask(old).await.unwrap(), "ok", "a connection that is open stays so");
    assert_eq!(*peers.client.generation().borrow(), 15);
}

/// Connects and waits for the server's first bytes: under TLS 1.3 a client learns only there that it is refused.
async fn connect(address: SocketAddr, config: Arc<rustls::ClientConfig>) -> std::io::Result<HandshakeKind> {
    let tcp = TcpStream::connect(address).await?;
    let mut tls = TlsConnector::from(config).connect(ServerName::try_from(HOST).unwrap(), tcp).await?;
    tls.read_u8().await?;
    Ok(tls.get_ref().1.handshake_kind().unwrap())
}

#[tokio::test]
async fn a_client_of_a_removed_authority_is_refused_even_with_a_session_to_resume() {
    let mut pki = Pki::new();
    let peers = Peers::start(&pki).await;
    pki.announce_authority();
    peers.reissue_client(&pki).await;
    let old_client = peers.client.client_config();
    connect(peers.address, old_client.clone()).await.unwrap();
    assert_eq!(connect(peers.address, old_client.clone()).await.unwrap(), HandshakeKind::Resumed);

    pki.switch_authority();
    pki.forget_authorities();
    peers.reissue_server(&pki).await;
    let refused = connect(peers.address, old_client).await.unwrap_err();
    assert!(refused.to_string().contains("received fatal alert"), "the server refuses, not the client: {refused}");
}

#[tokio::test]
async fn a_client_that_says_nothing_holds_up_nobody() {
    let pki = Pki::new();
    let peers = Peers::start(&pki).await;
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(TcpStream::connect(peers.address).await.unwrap());
    }
    assert_eq!(ask(peers.channel()).await.unwrap(), "ok");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_says_nothing_is_hung_up_on() {
    let pki = Pki::new();
    let peers = Peers::start(&pki).await;
    let mut silent = TcpStream::connect(peers.address).await.unwrap();
    assert_eq!(silent.read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test]
async fn nothing_is_accepted_after_shutdown() {
    let pki = Pki::new();
    let identity = Identity::load(&pki.issue("server", &[HOST])).await.unwrap();
    let shutdown = Shutdown::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut connections = Box::pin(accept(listener, identity, shutdown.clone()));
    shutdown.begin();
    assert!(connections.next().await.is_none());
}

/// The message of what is wrong with `files`.
async fn fault(files: &TlsArgs) -> String {
    Identity::load(files).await.unwrap_err().to_string()
}

#[tokio::test]
async fn an_error_names_the_flag_the_file_and_what_was_expected() {
    let pki = Pki::new();
    let good = pki.issue("good", &[HOST]);
    let other = pki.issue("other", &[HOST]);
    let at = |name: &str| pki.path().join(name);
    fs::write(at("empty"), "").unwrap();
    fs::write(at("broken"), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();

    let chain = "expected a PEM certificate chain";
    let missing = TlsArgs { cert: at("missing"), ..good.clone() };
    assert_eq!(fault(&missing).await, format!("--cert {}: no such file; {chain}", at("missing").display()));
    let empty = TlsArgs { cert: at("empty"), ..good.clone() };
    assert_eq!(fault(&empty).await, format!("--cert {}: no PEM certificate in it; {chain}", at("empty").display()));
    let broken = TlsArgs { cert: at("broken"), ..good.clone() };
    assert_eq!(fault(&broken).await, format!("--cert {}: not an X.509 certificate; {chain}", at("broken").display()));

    let key = TlsArgs { key: good.cert.clone(), ..good.clone() };
    assert_eq!(
        fault(&key).await,
        format!("--key {}: no PEM private key in it; expected a PEM private key", good.cert.display())
    );
    let mismatch = TlsArgs { key: other.key.clone(), ..good.clone() };
    let (key, cert) = (other.key.display(), good.cert.display());
    assert_eq!(fault(&mismatch).await, format!("--key {key}: not the key of the certificate in --cert {cert}"));

    let authorities = "expected PEM certificates of certificate authorities";
    let directory = TlsArgs { ca: pki.path().to_owned(), ..good.clone() };
    assert!(fault(&directory).await.starts_with(&format!("--ca {}: ", pki.path().display())));
    assert!(fault(&directory).await.ends_with(authorities));
    let no_ca = TlsArgs { ca: at("empty"), ..good.clone() };
    assert_eq!(fault(&no_ca).await, format!("--ca {}: no PEM certificate in it; {authorities}", at("empty").display()));
    let broken_ca = TlsArgs { ca: at("broken"), ..good };
    assert!(fault(&broken_ca).await.starts_with(&format!("--ca {}: ", at("broken").display())));
}

/// The three gauges of `identity`: expiry, update error, verify error.
fn gauges(identity: &Arc<Identity>, side: Side, clock: &Clock) -> [i64; 3] {
    let registry = Registry::new();
    identity.register(&registry, side, clock).unwrap();
    let text = TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
    ["expiry_seconds", "update_error", "verify_error"]
        .map(|name| count(&text, &format!("grpc_{}_tls_certificate_{name}", side.as_str())).unwrap())
}

#[tokio::test]
async fn bad_files_never_replace_good_material_and_show_in_a_gauge() {
    let pki = Pki::new();
    let clock = Clock::system();
    let peers = Peers::start(&pki).await;
    let files = &peers.server_files;
    let other_key = fs::read_to_string(&peers.client_files.key).unwrap();
    for (path, text) in [(&files.cert, ""), (&files.key, "nonsense"), (&files.ca, ""), (&files.key, other_key.as_str())]
    {
        fs::write(path, text).unwrap();
        peers.server.refresh().await.unwrap_err();
        assert_eq!(gauges(&peers.server, Side::Server, &clock)[1], 1);
        assert_eq!(ask(peers.channel()).await.unwrap(), "ok");

        peers.reissue_server(&pki).await;
        assert_eq!(gauges(&peers.server, Side::Server, &clock)[1], 0);
        assert_eq!(ask(peers.channel()).await.unwrap(), "ok");
    }
    fs::remove_file(&files.ca).unwrap();
    peers.server.refresh().await.unwrap_err();
    assert_eq!(ask(peers.channel()).await.unwrap(), "ok");
}

#[tokio::test]
async fn files_that_did_not_change_are_no_new_generation() {
    let pki = Pki::new();
    let peers = Peers::start(&pki).await;
    peers.server.refresh().await.unwrap();
    assert_eq!(*peers.server.generation().borrow(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_files_are_read_again_by_themselves_until_shutdown() {
    let pki = Pki::new();
    let files = pki.issue("server", &[HOST]);
    let identity = Identity::load(&files).await.unwrap();
    let shutdown = Shutdown::new();
    let mut generation = identity.generation();
    let keeping = tokio::spawn(identity.keep_current(shutdown.clone()));
    for expected in 1..=3 {
        pki.reissue(&files, &[HOST]);
        generation.changed().await.unwrap();
        assert_eq!(*generation.borrow(), expected);
    }
    shutdown.begin();
    keeping.await.unwrap();
}

#[tokio::test]
async fn gauges_tell_when_the_certificate_ends_and_whether_it_verifies() {
    let pki = Pki::new();
    let clock = Clock::system();
    let files = pki.issue("server", &[HOST]);
    let good = Identity::load(&files).await.unwrap();
    let end = good.current.load().expires;
    for side in [Side::Server, Side::Client] {
        assert_eq!(gauges(&good, side, &clock), [end.as_second(), 0, 0], "{side:?}");
        assert_eq!(gauges(&good, side, &Clock::starting_at(end))[2], 0, "{side:?}, in its last second");
        let after = Clock::starting_at(end + Duration::from_secs(1));
        assert_eq!(gauges(&good, side, &after)[2], 1, "{side:?}, expired");
    }
    let expired = Identity::load(&pki.issue_expired("expired", &[HOST])).await.unwrap();
    assert_eq!(gauges(&expired, Side::Client, &clock), [978_393_600, 0, 1]);
    let other = Pki::new();
    let foreign = TlsArgs { ca: other.issue("x", &[HOST]).ca, ..files };
    let foreign = Identity::load(&foreign).await.unwrap();
    assert_eq!(gauges(&foreign, Side::Server, &clock)[2], 1);
}

#[tokio::test]
async fn the_status_listeners_certificate_has_gauges_of_its_own_which_follow_its_files() {
    let pki = Pki::new();
    let files = pki.issue("status", &[HOST]);
    let status = MetricsFiles { cert: files.cert.clone(), key: files.key.clone(), client_ca: None };
    let (identity, registry) = (Identity::load(&status).await.unwrap(), Registry::new());
    identity.register_status(&registry).unwrap();
    let told = || {
        let text = TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        assert!(!text.contains("verify_error"), "{text}");
        ["expiry_seconds", "update_error"]
            .map(|name| count(&text, &format!("kiam_metrics_tls_certificate_{name}")).unwrap())
    };
    let ends = identity.not_after();
    assert_eq!(told(), [ends, 0]);
    fs::write(&files.cert, "").unwrap();
    identity.refresh().await.unwrap_err();
    assert_eq!(told(), [ends, 1]);
    let expired = pki.issue_expired("expired", &[HOST]);
    fs::write(&files.cert, fs::read(&expired.cert).unwrap()).unwrap();
    fs::write(&files.key, fs::read(&expired.key).unwrap()).unwrap();
    identity.refresh().await.unwrap();
    assert_eq!(told(), [978_393_600, 0]);
}

#[tokio::test]
async fn debug_and_errors_show_no_key() {
    let pki = Pki::new();
    let files = pki.issue("server", &[HOST]);
    let key = fs::read_to_string(&files.key).unwrap();
    let identity = Identity::load(&files).await.unwrap();
    fs::write(&files.key, key.replace("BEGIN", "BEGAN")).unwrap();
    let error = identity.refresh().await.unwrap_err();
    for shown in [format!("{identity:?}"), format!("{error:?} {error}")] {
        for line in key.lines() {
            assert!(!shown.contains(line), "{shown}");
        }
    }
}
