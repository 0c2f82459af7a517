//! `kiam-server certs generate`: an authority and certificates of it, for clusters without cert-manager. The README says
//! how to change to new ones.
//!
//! What must always hold: nothing that is there already is replaced, and nobody but the owner can read a key.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use kiam_common::args::parse_server_name;
use kiam_common::clock::Clock;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

/// What to do with certificates.
#[derive(Clone, Debug, Subcommand)]
pub enum CertsCommand {
    /// Makes an authority, and certificates of it for servers, agents and operators
    Generate(GenerateArgs),
}

/// The flags of `certs generate`.
#[derive(Args, Clone, Debug)]
pub struct GenerateArgs {
    /// Directory for the files; none that is there is replaced
    #[arg(long, value_name = "DIRECTORY")]
    out: PathBuf,

    /// By which names and addresses agents reach the servers, beside localhost
    #[arg(long, value_name = "NAME[,NAME]", default_value = "kiam-server", value_delimiter = ',',
          value_parser = parse_server_name)]
    server_name: Vec<String>,

    /// How many days all of it is good for
    #[arg(long, value_name = "DAYS", default_value = "365", value_parser = parse_days)]
    days: u16,
}

fn parse_days(text: &str) -> Result<u16, String> {
    text.parse().ok().filter(|days| (1..=3650).contains(days)).ok_or_else(|| "expected 1 to 3650".into())
}

/// Why there are no certificates.
#[derive(Debug, thiserror::Error)]
enum CertsError {
    #[error("--out: {} is there already; expected a directory without it", .0.display())]
    Taken(PathBuf),
    #[error("--out: {}: {source}", path.display())]
    Unwritable { path: PathBuf, source: io::Error },
    #[error("cannot make certificates: {0}")]
    Crypto(#[from] rcgen::Error),
}

/// A file to write.
struct File {
    name: String,
    text: String,
    /// For the owner's eyes only.
    secret: bool,
    /// What it is for.
    purpose: &'static str,
}

impl File {
    fn certificate(name: &str, text: String, purpose: &'static str) -> Self {
        Self { name: format!("{name}.pem"), text, secret: false, purpose }
    }

    fn key(name: &str, key: &KeyPair, purpose: &'static str) -> Self {
        Self { name: format!("{name}-key.pem"), text: key.serialize_pem(), secret: true, purpose }
    }
}

/// Writes the files and lists them.
pub(super) fn run(args: &GenerateArgs) -> ExitCode {
    let files = generate(&args.server_name, args.days, Clock::system().now()).and_then(|files| {
        write(&args.out, &files)?;
        Ok(files)
    });
    match files {
        Ok(files) => {
            for File { name, purpose, .. } in files {
                println!("{:40}  {purpose}", args.out.join(name).display());
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// All of them, good from the day before `now`, as clocks differ.
fn generate(server_names: &[String], days: u16, now: Timestamp) -> Result<Vec<File>, CertsError> {
    let today = now.to_zoned(TimeZone::UTC).date();
    let validity = [today.saturating_sub(1.day()), today.saturating_add((i64::from(days) + 1).days())];
    let authority = authority(today, validity)?;
    let mut server_names = server_names.to_vec();
    server_names.extend(["localhost", "127.0.0.1"].map(Into::into));
    // A server's own certificate is a client's, too: `health`, `explain` and `status` in its container show it.
    let both = [ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let mut files = vec![
        File::certificate("ca", authority.pem(), "--ca of everybody"),
        File::key("ca", authority.key(), "signs more certificates: keep it away from the cluster"),
    ];
    let [_, client] = &both;
    for (name, names, usages, purposes) in [
        ("server", server_names, both.as_slice(), ["--cert of servers", "--key of servers"]),
        ("agent", vec!["kiam-agent".into()], std::slice::from_ref(client), ["--cert of agents", "--key of agents"]),
        (
            "operator",
            vec!["kiam-operator".into()],
            std::slice::from_ref(client),
            ["--cert of kiam-server explain and status", "--key of kiam-server explain and status"],
        ),
    ] {
        let key = KeyPair::generate()?;
        let params = leaf(name, names, usages, validity)?;
        let [of_certificate, of_key] = purposes;
        files.push(File::certificate(name, params.signed_by(&key, &authority)?.pem(), of_certificate));
        files.push(File::key(name, &key, of_key));
    }
    Ok(files)
}

fn authority(today: Date, validity: [Date; 2]) -> Result<CertifiedIssuer<'static, KeyPair>, rcgen::Error> {
    let mut params = valid(CertificateParams::default(), validity);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    // The day tells an old authority from a new one while both are trusted.
    params.distinguished_name.push(DnType::CommonName, format!("kiam authority of {today}"));
    CertifiedIssuer::self_signed(params, KeyPair::generate()?)
}

fn leaf(
    name: &str,
    names: Vec<String>,
    usages: &[ExtendedKeyUsagePurpose],
    validity: [Date; 2],
) -> Result<CertificateParams, rcgen::Error> {
    let mut params = valid(CertificateParams::new(names)?, validity);
    params.distinguished_name.push(DnType::CommonName, format!("kiam-{name}"));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = usages.to_vec();
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn valid(mut params: CertificateParams, validity: [Date; 2]) -> CertificateParams {
    let midnight =
        |date: Date| date_time_ymd(date.year().into(), date.month().unsigned_abs(), date.day().unsigned_abs());
    [params.not_before, params.not_after] = validity.map(midnight);
    params
}

/// Writes all or, if one of them is there already, nothing.
fn write(directory: &Path, files: &[File]) -> Result<(), CertsError> {
    if let Some(taken) = files.iter().map(|file| directory.join(&file.name)).find(|path| path.exists()) {
        return Err(CertsError::Taken(taken));
    }
    let created = DirBuilder::new().recursive(true).mode(0o700).create(directory);
    created.map_err(|source| CertsError::Unwritable { path: directory.into(), source })?;
    for file in files {
        let path = directory.join(&file.name);
        let mode = if file.secret { 0o600 } else { 0o644 };
        let written = OpenOptions::new().write(true).create_new(true).mode(mode).open(&path);
        let written = written.and_then(|mut open| open.write_all(file.text.as_bytes()));
        written.map_err(|source| CertsError::Unwritable { path, source })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use kiam_common::args::TlsArgs;
    use kiam_common::tls::{Identity, Side};

    use super::*;

    fn now() -> Timestamp {
        "2026-11-21T10:00:00Z".parse().unwrap()
    }

    fn written(directory: &Path) -> Vec<File> {
        let files = generate(&["kiam-server".into(), "10.0.0.1".into()], 30, now()).unwrap();
        write(directory, &files).unwrap();
        files
    }

    async fn identity(directory: &Path, name: &str) -> std::sync::Arc<Identity> {
        let file = |name: String| directory.join(name);
        let (cert, key) = (file(format!("{name}.pem")), file(format!("{name}-key.pem")));
        Identity::load(&TlsArgs { cert, key, ca: file("ca.pem".into()) }).await.unwrap()
    }

    #[tokio::test]
    async fn each_certificate_is_good_for_its_own_side_and_for_as_long_as_was_asked_for() {
        let directory = tempfile::tempdir().unwrap();
        written(directory.path());
        let verdicts = async |name: &str, now: &str| {
            let identity = identity(directory.path(), name).await;
            [Side::Server, Side::Client].map(|side| identity.verify(side, now.parse().unwrap()).is_ok())
        };
        assert_eq!(verdicts("server", "2026-12-21T09:59:59Z").await, [true, true]);
        for client in ["agent", "operator"] {
            assert_eq!(verdicts(client, "2026-12-21T09:59:59Z").await, [false, true], "{client}");
        }
        assert_eq!(verdicts("server", "2026-11-20T12:00:00Z").await, [true, true], "a clock that is slow");
        assert_eq!(verdicts("server", "2026-12-22T00:00:01Z").await, [false, false]);
    }

    #[test]
    fn keys_are_their_owners_alone() {
        let directory = tempfile::tempdir().unwrap();
        let out = directory.path().join("new/certs");
        let files = written(&out);
        assert_eq!(files.len(), 8);
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&out), 0o700);
        for file in files {
            let is_key = file.name.ends_with("-key.pem");
            assert_eq!(file.text.contains("PRIVATE KEY"), is_key, "{}", file.name);
            assert!(!is_key || mode(&out.join(&file.name)) == 0o600, "{}", file.name);
        }
    }

    #[test]
    fn nothing_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let taken = directory.path().join("agent-key.pem");
        std::fs::write(&taken, "mine").unwrap();
        let files = generate(&["kiam-server".into()], 30, now()).unwrap();
        let error = write(directory.path(), &files).unwrap_err().to_string();
        assert!(error.contains("agent-key.pem is there already"), "{error}");
        assert_eq!(std::fs::read_to_string(taken).unwrap(), "mine");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "nothing else is written");
    }
}
