//! Who gets in: by a path, by a certificate, by a token.

use std::fs;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use rustls_pki_types::pem::PemObject as _;
use tokio_rustls::TlsConnector;

use super::*;
use crate::args::TlsArgs;
use crate::testing::metrics::count;
use crate::testing::{CapturedLog, NamedScrapers, Pki};
use crate::tls::install_crypto_provider;

const METRICS: &str = "/metrics";

#[tokio::test]
async fn metrics_are_at_the_path_that_a_flag_says_and_there_alone() {
    let running = start_with(&args("--metrics-path=/kiam/metrics"), None).await;
    assert_eq!(status(&ask(running.address, "GET", "/kiam/metrics").await), "200");
    let elsewhere = ask(running.address, "GET", METRICS).await;
    assert_eq!((status(&elsewhere), body(&elsewhere)), ("404", "not found: try /kiam/metrics, /live or /ready\n"));
}

/// A listener with a certificate, which asks clients for one of theirs if `asks`.
async fn with_tls(files: &TlsArgs, asks: bool) -> Running {
    install_crypto_provider();
    let (cert, key) = (files.cert.display(), files.key.display());
    let ca = if asks { format!("--metrics-client-ca={}", files.ca.display()) } else { String::new() };
    start_with(&args(&format!("--metrics-tls-cert={cert} --metrics-tls-key={key} {ca}")), None).await
}

/// What a scraper is told that trusts the authority of `trusts`, and shows what `shows` is.
async fn scrape(address: SocketAddr, trusts: &TlsArgs, shows: Option<&TlsArgs>, path: &str) -> io::Result<String> {
    let config = if let Some(files) = shows {
        let mut config = ClientConfig::clone(&*Identity::load(files).await.unwrap().client_config());
        config.alpn_protocols = Vec::new();
        config
    } else {
        let mut roots = RootCertStore::empty();
        roots.add(rustls_pki_types::CertificateDer::from_pem_file(&trusts.ca).unwrap()).unwrap();
        ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()
    };
    let (tcp, name) = (TcpStream::connect(address).await?, ServerName::try_from("kiam").unwrap());
    let mut tls = TlsConnector::from(Arc::new(config)).connect(name, tcp).await?;
    tls.write_all(format!("GET {path} HTTP/1.1\r\nhost: kiam\r\nconnection: close\r\n\r\n").as_bytes()).await?;
    let mut answer = String::new();
    tls.read_to_string(&mut answer).await?;
    Ok(answer)
}

#[tokio::test]
async fn over_tls_any_client_reads_and_a_new_certificate_takes_over() {
    let mut pki = Pki::new();
    let files = pki.issue("status", &["kiam"]);
    let running = with_tls(&files, false).await;
    let told = scrape(running.address, &files, None, METRICS).await.unwrap();
    let ends = running.identity.as_ref().unwrap().not_after();
    assert_eq!(count(&told, "kiam_metrics_tls_certificate_expiry_seconds"), Some(ends));
    let plain = TcpStream::connect(running.address).await.unwrap();
    assert!(!ask_over(plain, "GET", METRICS, "").await.contains("200 OK"));

    pki.announce_authority();
    pki.switch_authority();
    pki.forget_authorities();
    pki.reissue(&files, &["kiam"]);
    running.identity.unwrap().generation().changed().await.unwrap();
    assert_eq!(status(&scrape(running.address, &files, None, METRICS).await.unwrap()), "200");
}

#[tokio::test]
async fn with_an_authority_for_clients_only_those_it_knows_read_metrics_and_probes_need_none() {
    let pki = Pki::new();
    let (files, scraper) = (pki.issue("status", &["kiam"]), pki.issue("prometheus", &["prometheus"]));
    let running = with_tls(&files, true).await;
    assert_eq!(status(&scrape(running.address, &files, Some(&scraper), METRICS).await.unwrap()), "200");
    let refused = scrape(running.address, &files, None, METRICS).await.unwrap();
    assert_eq!(status(&refused), "403");
    assert!(body(&refused).contains("--metrics-client-ca"), "{refused}");
    assert_eq!(status(&scrape(running.address, &files, None, "/live").await.unwrap()), "200");
    let strangers = Pki::new();
    let stranger = TlsArgs { ca: files.ca.clone(), ..strangers.issue("stranger", &["stranger"]) };
    scrape(running.address, &files, Some(&stranger), "/live").await.unwrap_err();
}

#[tokio::test]
async fn files_that_cannot_be_used_are_told_with_their_flag() {
    let pki = Pki::new();
    let files = pki.issue("status", &["kiam"]);
    let (cert, key) = (files.cert.display(), files.key.display());
    fs::write(pki.path().join("empty"), "").unwrap();
    let empty = pki.path().join("empty").display().to_string();
    for (flags, told) in [
        (format!("--metrics-tls-cert={cert}"), format!("--metrics-tls-cert {cert}: expected --metrics-tls-key")),
        (
            format!("--metrics-tls-cert={empty} --metrics-tls-key={key}"),
            format!("--metrics-tls-cert {empty}: no PEM certificate in it"),
        ),
        (
            format!("--metrics-tls-cert={cert} --metrics-tls-key=/nowhere"),
            "--metrics-tls-key /nowhere: no such file".into(),
        ),
        (
            format!("--metrics-tls-cert={cert} --metrics-tls-key={key} --metrics-client-ca={empty}"),
            format!("--metrics-client-ca {empty}: no PEM certificate in it"),
        ),
    ] {
        let error = Ops::bind(&args(&flags), Registry::new(), Readiness::default()).await.unwrap_err().to_string();
        assert!(error.starts_with(&told), "{error}");
    }
}

#[tokio::test]
async fn a_guarded_page_is_for_whose_token_is_let_in_and_probes_need_none() {
    let log = CapturedLog::start();
    let running = start_with(&args("--metrics-auth=kubernetes"), Some(Arc::new(NamedScrapers))).await;
    let bearing = async |path: &str, headers: &str| {
        ask_over(TcpStream::connect(running.address).await.unwrap(), "GET", path, headers).await
    };
    for (token, wanted) in [("allowed", "200"), ("unallowed", "403"), ("forged-secret", "401"), ("outage", "503")] {
        let answer = bearing(METRICS, &format!("authorization: Bearer {token}\r\n")).await;
        assert_eq!(status(&answer), wanted, "{token}");
        assert!(!answer.contains("forged-secret"), "{answer}");
    }
    for headers in ["", "authorization: Basic allowed\r\n", "authorization: Bearer \r\n"] {
        let refused = bearing(METRICS, headers).await;
        assert_eq!(status(&refused), "401", "{headers}");
        assert!(refused.contains("www-authenticate: Bearer\r\n"), "{refused}");
    }
    for path in ["/live", "/ready"] {
        assert_eq!(status(&bearing(path, "").await), "200");
    }
    assert!(!log.text().contains("forged-secret"));
}

#[tokio::test]
async fn an_open_page_is_everybodys_with_any_token_or_none() {
    let insecure = {
        let mut args = args("--metrics-auth=kubernetes");
        args.metrics.insecure_metrics = true;
        args
    };
    for args in [args(""), insecure] {
        let running = start_with(&args, Some(Arc::new(NamedScrapers))).await;
        assert_eq!(status(&ask(running.address, "GET", METRICS).await), "200");
    }
}
