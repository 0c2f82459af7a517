//! What the files hold, read and checked together: a chain and its own key, and, where a file of authorities is given, at
//! least one of them.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use ring::hmac;
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;
use zeroize::Zeroizing;

use super::files::Files;

/// Why the files make no identity. Each message begins with the flag and its file.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file cannot be read.
    #[error("{flag} {}: {}; expected {expected}", path.display(), in_words(source))]
    Unreadable {
        /// Which of the three.
        flag: &'static str,
        /// Its file.
        path: PathBuf,
        /// What the file should be.
        expected: &'static str,
        /// Why it cannot.
        source: io::Error,
    },
    /// The file holds something else.
    #[error("{flag} {}: {found}; expected {expected}", path.display())]
    Malformed {
        /// Which of the three.
        flag: &'static str,
        /// Its file.
        path: PathBuf,
        /// What the file should be.
        expected: &'static str,
        /// What is wrong with it.
        found: String,
    },
    /// The key is another certificate's.
    #[error(
        "{} {}: not the key of the certificate in {} {}",
        files.key_flag(), files.key.display(), files.cert_flag(), files.cert.display()
    )]
    Mismatch {
        /// All of them.
        files: Files,
    },
    /// rustls takes the parts but not the whole.
    #[error("{flag} {}: {source}", cert.display())]
    Refused {
        /// That of the certificate.
        flag: &'static str,
        /// Its file.
        cert: PathBuf,
        /// Why it does not.
        source: rustls::Error,
    },
}

fn in_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file".into(),
        io::ErrorKind::PermissionDenied => "not allowed to read it".into(),
        _ => error.to_string(),
    }
}

/// One of the files.
struct File<'a> {
    flag: &'static str,
    path: &'a Path,
    expected: &'static str,
}

impl File<'_> {
    async fn read(&self) -> Result<Vec<u8>, TlsError> {
        let path = self.path.to_owned();
        let read = tokio::task::spawn_blocking(move || std::fs::read(path)).await.unwrap_or_else(|e| Err(e.into()));
        let Self { flag, expected, .. } = *self;
        read.map_err(|source| TlsError::Unreadable { flag, path: self.path.into(), expected, source })
    }

    fn malformed(&self, found: impl Into<String>) -> TlsError {
        let Self { flag, expected, .. } = *self;
        TlsError::Malformed { flag, path: self.path.into(), expected, found: found.into() }
    }

    fn certificates(&self, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        match parsed {
            Ok(certificates) if certificates.is_empty() => Err(self.malformed("no PEM certificate in it")),
            Ok(certificates) => Ok(certificates),
            Err(error) => Err(self.malformed(error.to_string())),
        }
    }
}

fn cert_file(files: &Files) -> File<'_> {
    File { flag: files.cert_flag(), path: &files.cert, expected: "a PEM certificate chain" }
}

fn key_file(files: &Files) -> File<'_> {
    File { flag: files.key_flag(), path: &files.key, expected: "a PEM private key" }
}

fn ca_file(files: &Files) -> Option<File<'_>> {
    files.ca.as_deref().map(|path| authorities_file(files.ca_flag(), path))
}

fn authorities_file<'a>(flag: &'static str, path: &'a Path) -> File<'a> {
    File { flag, path, expected: "PEM certificates of certificate authorities" }
}

/// Reads a file of authorities, in PEM, that belongs to no identity; `flag` is what named it.
pub(crate) async fn read_authorities(flag: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    let file = authorities_file(flag, path);
    let pem = file.read().await?;
    file.certificates(&pem)?;
    Ok(pem)
}

/// The bytes of the files. A change of any is a change of all.
#[derive(PartialEq, Eq)]
pub(super) struct Contents {
    cert: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
    ca: Option<Vec<u8>>,
}

impl Contents {
    pub(super) fn derive_key(&self, purpose: &str) -> [u8; 32] {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.key);
        let mut derived = [0; 32];
        derived.copy_from_slice(hmac::sign(&key, purpose.as_bytes()).as_ref());
        derived
    }

    pub(super) async fn read(files: &Files) -> Result<Self, TlsError> {
        Ok(Self {
            cert: cert_file(files).read().await?,
            key: Zeroizing::new(key_file(files).read().await?),
            ca: match ca_file(files) {
                Some(ca) => Some(ca.read().await?),
                None => None,
            },
        })
    }
}

/// Material that is good: everything connections need, and what the metrics tell of it.
pub(super) struct Material {
    pub(super) contents: Contents,
    pub(super) server: Arc<ServerConfig>,
    pub(super) client: Arc<ClientConfig>,
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) roots: Arc<RootCertStore>,
    /// When the first certificate of the chain, or the authority above it, ends.
    pub(super) expires: Timestamp,
}

impl Material {
    pub(super) async fn read(files: &Files) -> Result<Self, TlsError> {
        Self::parse(files, Contents::read(files).await?)
    }

    pub(super) fn parse(files: &Files, contents: Contents) -> Result<Self, TlsError> {
        let cert_file = cert_file(files);
        let chain = cert_file.certificates(&contents.cert)?;
        let key = PrivateKeyDer::from_pem_slice(&contents.key)
            .map_err(|_| key_file(files).malformed("no PEM private key in it"))?;
        let (authorities, roots) = trusted(files, &contents)?;
        let roots = Arc::new(roots);
        let expires = expires(&chain, &authorities).ok_or_else(|| cert_file.malformed("not an X.509 certificate"))?;
        let (server, client) = configs(files, &chain, &key, &roots).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => TlsError::Mismatch { files: files.clone() },
            source => TlsError::Refused { flag: files.cert_flag(), cert: files.cert.clone(), source },
        })?;
        Ok(Self { contents, server, client, chain, roots, expires })
    }
}
/// Whom the other side must chain to.
fn trusted(files: &Files, contents: &Contents) -> Result<(Vec<CertificateDer<'static>>, RootCertStore), TlsError> {
    let mut roots = RootCertStore::empty();
    let (Some(file), Some(pem)) = (ca_file(files), &contents.ca) else { return Ok((Vec::new(), roots)) };
    let authorities = file.certificates(pem)?;
    for authority in &authorities {
        roots.add(authority.clone()).map_err(|error| file.malformed(error.to_string()))?;
    }
    Ok((authorities, roots))
}

/// The whole configurations of both sides.
fn configs(
    files: &Files,
    chain: &[CertificateDer<'static>],
    key: &PrivateKeyDer<'static>,
    roots: &Arc<RootCertStore>,
) -> Result<(Arc<ServerConfig>, Arc<ClientConfig>), rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut server = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(clients(files, roots, &provider)?)
        .with_single_cert(chain.to_vec(), key.clone_key())?;
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots.clone())
        .with_client_auth_cert(chain.to_vec(), key.clone_key())?;
    server.alpn_protocols = vec![files.protocol().to_vec()];
    client.alpn_protocols = vec![files.protocol().to_vec()];
    Ok((Arc::new(server), Arc::new(client)))
}

/// Which clients are let in.
fn clients(
    files: &Files,
    roots: &Arc<RootCertStore>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, rustls::Error> {
    if !files.asks_clients() {
        return Ok(WebPkiClientVerifier::no_client_auth());
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone());
    let verifier = if files.lets_strangers_in() { verifier.allow_unauthenticated() } else { verifier };
    let verifier = verifier.build().map_err(|error| rustls::Error::General(error.to_string()))?;
    Ok(verifier)
}

/// The earliest end in the chain and of the authority that issued its last certificate. Of several authorities with
/// that name, as in a bundle of old and new, the one that lives longest counts.
fn expires(chain: &[CertificateDer<'_>], authorities: &[CertificateDer<'_>]) -> Option<Timestamp> {
    let chain: Vec<X509Certificate<'_>> = chain.iter().map(parse_certificate).collect::<Option<_>>()?;
    let issuer = chain.last()?.issuer();
    let authorities = authorities.iter().filter_map(parse_certificate);
    let authority = authorities.filter(|authority| authority.subject() == issuer).map(|a| not_after(&a)).max();
    let earliest = chain.iter().map(not_after).chain(authority).min()?;
    Timestamp::from_second(earliest).ok()
}

fn parse_certificate<'a>(der: &'a CertificateDer<'_>) -> Option<X509Certificate<'a>> {
    X509Certificate::from_der(der).ok().map(|(_, certificate)| certificate)
}

/// Seconds since the Unix epoch.
fn not_after(certificate: &X509Certificate<'_>) -> i64 {
    certificate.validity().not_after.timestamp()
}
