//! Throw-away certificates, laid out on disk as Kubernetes mounts a secret.

#![expect(clippy::expect_used, clippy::missing_panics_doc, reason = "a test without certificates can only stop")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, date_time_ymd,
};
use tempfile::TempDir;

use crate::args::TlsArgs;

/// An authority of its own, and the certificates it issued, in a directory that is removed on drop.
///
/// Authorities change in the three steps of any rotation that loses no call, with `reissue` of every identity after
/// each: [`announce_authority`](Self::announce_authority), [`switch_authority`](Self::switch_authority),
/// [`forget_authorities`](Self::forget_authorities).
pub struct Pki {
    directory: TempDir,
    authority: CertifiedIssuer<'static, KeyPair>,
    next: Option<CertifiedIssuer<'static, KeyPair>>,
    /// What each `ca.crt` written from now on holds.
    trusted: String,
    versions: AtomicU64,
    /// Everything that was issued, and for which names.
    issued: Mutex<Vec<(TlsArgs, Vec<String>)>>,
}

impl Default for Pki {
    fn default() -> Self {
        Self::new()
    }
}

impl Pki {
    /// A new authority that is trusted alone.
    pub fn new() -> Self {
        let authority = new_authority();
        let trusted = authority.pem();
        let directory = tempfile::Builder::new().prefix("kiam-pki-").tempdir().expect("a temporary directory");
        Self { directory, authority, next: None, trusted, versions: AtomicU64::new(0), issued: Mutex::default() }
    }

    /// The directory that holds everything.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Issues a certificate for `names` (DNS names and IP addresses), good for servers and for clients, and writes
    /// `<name>/{tls.crt,tls.key,ca.crt}`.
    pub fn issue(&self, name: &str, names: &[&str]) -> TlsArgs {
        let files = self.files(name);
        self.reissue(&files, names);
        let names = names.iter().map(ToString::to_string).collect();
        self.issued.lock().expect("no holder panics").push((files.clone(), names));
        files
    }

    /// Does [`reissue`](Self::reissue) for every identity.
    pub fn reissue_all(&self) {
        for (files, names) in &*self.issued.lock().expect("no holder panics") {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            self.reissue(files, &names);
        }
    }

    /// Issues a certificate that ended long ago, likewise.
    pub fn issue_expired(&self, name: &str, names: &[&str]) -> TlsArgs {
        let files = self.files(name);
        let mut params = leaf(names);
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2001, 1, 2);
        self.write(&files, &params);
        files
    }

    /// Writes a new certificate and key, and what is trusted now, in place of `files`: all at once, by swapping the
    /// directory that they are links into, as Kubernetes does.
    pub fn reissue(&self, files: &TlsArgs, names: &[&str]) {
        self.write(files, &leaf(names));
    }

    /// Makes a second authority, and trusts both.
    pub fn announce_authority(&mut self) {
        let next = new_authority();
        self.trusted.push_str(&next.pem());
        self.next = Some(next);
    }

    /// Issues from the second authority from now on.
    pub fn switch_authority(&mut self) {
        self.authority = self.next.take().expect("announce_authority comes first");
    }

    /// Trusts the current authority alone.
    pub fn forget_authorities(&mut self) {
        self.trusted = self.authority.pem();
    }

    /// Lets the announced authority take over, announces another, and goes on trusting the last: who is one such step
    /// behind or ahead is still known.
    pub fn succeed_authority(&mut self) {
        let last = self.authority.pem();
        self.switch_authority();
        self.trusted = last + &self.authority.pem();
        self.announce_authority();
    }

    fn files(&self, name: &str) -> TlsArgs {
        let directory = self.path().join(name);
        fs::create_dir_all(&directory).expect("a directory");
        for file in ["tls.crt", "tls.key", "ca.crt"] {
            symlink(Path::new("..data").join(file), directory.join(file)).expect("a name that is not taken");
        }
        TlsArgs { cert: directory.join("tls.crt"), key: directory.join("tls.key"), ca: directory.join("ca.crt") }
    }

    fn write(&self, files: &TlsArgs, params: &CertificateParams) {
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.authority).expect("a certificate");
        let directory = files.cert.parent().expect("files that `issue` made");
        let version = format!("..{}", self.versions.fetch_add(1, Ordering::Relaxed));
        let data = directory.join(&version);
        fs::create_dir(&data).expect("a directory");
        for (file, text) in
            [("tls.crt", certificate.pem()), ("tls.key", key.serialize_pem()), ("ca.crt", self.trusted.clone())]
        {
            fs::write(data.join(file), text).expect("a file");
        }
        let link = directory.join("..data_tmp");
        symlink(version, &link).expect("a link");
        fs::rename(link, directory.join("..data")).expect("the link's own name");
    }
}

fn new_authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "kiam test authority");
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority")
}

fn leaf(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names).expect("DNS names and IP addresses");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params
}
