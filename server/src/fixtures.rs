//! What the tests of several modules are made of.

use std::sync::Arc;
use std::time::Duration;

use kiam_common::clock::Clock;
use kiam_common::registry::Registry;
use kiam_common::role::{RoleIdentity, SessionName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::directory::Directory;
use crate::directory::namespaces::NamespaceFields;
use crate::directory::pods::{Owner, Pod, PodFields};
use crate::metrics::VaultMetrics;
use crate::policy::namespace::{NamespaceAnnotations, NamespacePolicy};
use crate::role::resolver::Resolver;
use crate::role::{PodRole, RoleAnnotations};
use crate::sts::fake::FakeSts;
use crate::vault::{Limits, Settings, Vault};

pub(crate) const READER: &str = "arn:aws:iam::123456789012:role/reader";

pub(crate) fn resolver() -> Resolver {
    Resolver::new("arn:aws:iam::123456789012:role/".parse().unwrap(), SessionName::from_text("kiam"))
}

pub(crate) fn directory() -> Arc<Directory> {
    Arc::new(Directory::new(resolver(), NamespacePolicy::Permitted { anchored: true }))
}

/// A running pod of the namespace `team`.
pub(crate) fn pod(name: &str, ip: &str, role: Option<&str>) -> PodFields {
    PodFields {
        uid: format!("uid-of-{name}"),
        namespace: "team".into(),
        name: name.into(),
        node: Some("node-1".into()),
        ips: vec![ip.parse().unwrap()],
        annotations: RoleAnnotations { role: role.map(Into::into), ..RoleAnnotations::default() },
        ..PodFields::default()
    }
}

/// The namespace `team`.
pub(crate) fn namespace(permitted: &str) -> NamespaceFields {
    NamespaceFields {
        name: "team".into(),
        annotations: NamespaceAnnotations { permitted: Some(permitted.into()), allowed_roles: None },
    }
}

/// What a pod with that annotation asks for.
pub(crate) fn identity(role: &str) -> Arc<RoleIdentity> {
    match resolver().pod_role(&RoleAnnotations { role: Some(role.into()), ..RoleAnnotations::default() }) {
        PodRole::Annotated(role) => role.identity,
        other => panic!("{other:?}"),
    }
}

/// How the vault behaves by default, apart from limits that get in no test's way.
pub(crate) const VAULT: Settings = Settings {
    session_duration: Duration::from_hours(1),
    session_refresh: Duration::from_mins(30),
    capacity: 10_000,
    prefetch_buffer: 10_000,
    limits: Limits { at_once: 1000, per_second: 10_000 },
    attempt_timeout: Duration::from_secs(4),
};

/// A clock that shows ten o'clock now.
pub(crate) fn clock() -> Clock {
    Clock::starting_at("2026-11-21T10:00:00Z".parse().unwrap())
}

/// A vault over a fake STS, for the pods in a directory.
pub(crate) fn vault(registry: &Registry, directory: &Arc<Directory>) -> (Arc<Vault>, Arc<FakeSts>) {
    vault_with(&VAULT, registry, directory)
}

/// The same, behaving in its own way.
pub(crate) fn vault_with(
    settings: &Settings,
    registry: &Registry,
    directory: &Arc<Directory>,
) -> (Arc<Vault>, Arc<FakeSts>) {
    let clock = clock();
    let sts = Arc::new(FakeSts::new(clock.clone()));
    let metrics = VaultMetrics::new(registry).unwrap();
    let vault = Arc::new(Vault::new(Arc::clone(&sts) as _, clock, Arc::clone(directory), settings, metrics));
    crate::metrics::census(registry, &vault).unwrap();
    (vault, sts)
}

/// The pod that has an IP.
pub(crate) async fn owner(directory: &Directory, ip: &str) -> Arc<Pod> {
    match directory.wait_for_pod(ip.parse().unwrap(), Duration::ZERO).await {
        Owner::Pod(pod) => pod,
        other => panic!("{other:?}"),
    }
}

/// A sample of a counter or gauge.
pub(crate) fn count(registry: &Registry, series: &str) -> i64 {
    let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
    kiam_common::testing::metrics::count(&text, series).unwrap_or_else(|| panic!("no {series} in {text}"))
}

/// An HTTP server on loopback that answers one request; its URL, and the request it was asked.
pub(crate) async fn answering_once(status: u16, body: &str) -> (String, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answer = format!("HTTP/1.1 {status} -\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
    let asked = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut asked = Vec::new();
        while !is_whole(&asked) {
            assert_ne!(stream.read_buf(&mut asked).await.unwrap(), 0, "the request ended early");
        }
        stream.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8(asked).unwrap()
    });
    (url, asked)
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).to_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    body.len() >= length.map_or(0, |length| length.trim().parse().unwrap())
}
