//! What the tests of several modules are made of.

use std::sync::Arc;
use std::time::Duration;

use kiam_common::clock::Clock;
use kiam_common::role::{RoleIdentity, SessionName};
use prometheus::Registry;

use crate::directory::Directory;
use crate::directory::namespaces::NamespaceFields;
use crate::directory::pods::PodFields;
use crate::metrics::VaultMetrics;
use crate::policy::namespace::{NamespaceAnnotations, NamespacePolicy};
use crate::role::resolver::Resolver;
use crate::role::{PodRole, RoleAnnotations};
use crate::sts::fake::FakeSts;
use crate::vault::Vault;

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

/// A vault over a fake STS, with sessions that are renewed 30 minutes before they end.
pub(crate) fn vault(registry: &Registry) -> (Arc<Vault>, Arc<FakeSts>) {
    let clock = Clock::starting_at("2026-11-21T10:00:00Z".parse().unwrap());
    let sts = Arc::new(FakeSts::new(clock.clone()));
    let metrics = VaultMetrics::new(registry).unwrap();
    let vault = Vault::new(Arc::clone(&sts) as _, clock, Duration::from_mins(30), metrics);
    (Arc::new(vault), sts)
}

/// A sample of a counter or gauge.
pub(crate) fn count(registry: &Registry, series: &str) -> i64 {
    let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
    kiam_common::testing::metrics::count(&text, series).unwrap_or_else(|| panic!("no {series} in {text}"))
}
