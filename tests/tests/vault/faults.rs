//! Everything that can befall a call to STS: what a pod that waits is told, how many calls it costs, and that a pod
//! whose credentials live notices nothing.

use std::sync::Arc;
use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_sts::config::{Credentials, SharedCredentialsProvider};
use futures_util::future::join_all;
use http::StatusCode;
use jiff::SignedDuration;
use kiam_common::clock::Clock;
use kiam_common::role::{RoleArn, RoleIdentity, SessionName};
use kiam_server::directory::Directory;
use kiam_server::directory::namespaces::NamespaceFields;
use kiam_server::directory::pods::PodFields;
use kiam_server::metrics::VaultMetrics;
use kiam_server::policy::namespace::{NamespaceAnnotations, NamespacePolicy};
use kiam_server::role::RoleAnnotations;
use kiam_server::role::resolver::Resolver;
use kiam_server::sts::StsErrorKind::{self, OwnCredentials, Refused, Throttled, Unavailable};
use kiam_server::sts::aws::{AwsSts, http_client};
use kiam_server::vault::{Limits, Settings, Vault, upkeep};
use kiam_tests::real::eventually;
use kiam_tests::sts::{Fault, OWN_ACCESS_KEY, OWN_SECRET_KEY, Refusal, Scope, Sts};
use tokio::time::Instant;

const ROLE: &str = "arn:aws:iam::123456789012:role/reader";
const HOUR: Duration = Duration::from_hours(1);

struct Stand {
    sts: Sts,
    vault: Arc<Vault>,
    identity: Arc<RoleIdentity>,
}

/// A vault over the emulator, and a pod that may have the role.
async fn stand(session_duration: Duration) -> Stand {
    kiam_common::tls::install_crypto_provider();
    let sts = Sts::start().await.unwrap();
    let own = Credentials::new(OWN_ACCESS_KEY, OWN_SECRET_KEY, None, None, "test");
    let config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static("eu-west-1"))
        .endpoint_url(sts.url())
        .credentials_provider(SharedCredentialsProvider::new(own))
        .http_client(http_client())
        .build();
    let settings = Settings {
        session_duration,
        session_refresh: session_duration / 2,
        capacity: 100,
        prefetch_buffer: 100,
        limits: Limits { at_once: 8, per_second: 100 },
        attempt_timeout: Duration::from_millis(500),
    };
    let clock = Clock::system();
    let metrics = VaultMetrics::new(&kiam_common::registry::Registry::new()).unwrap();
    let aws = Arc::new(AwsSts::with(&config, clock.clone()));
    let vault = Arc::new(Vault::new(aws, clock, directory(), &settings, metrics));
    tokio::spawn(upkeep::keep(Arc::clone(&vault), kiam_common::shutdown::Shutdown::new()));
    let identity = RoleIdentity {
        arn: RoleArn::parse(ROLE).unwrap(),
        session_name: SessionName::from_text("kiam"),
        external_id: None,
    };
    Stand { sts, vault, identity: Arc::new(identity) }
}

fn directory() -> Arc<Directory> {
    let resolver = Resolver::new("arn:aws:iam::123456789012:role/".parse().unwrap(), SessionName::from_text("kiam"));
    let directory = Directory::new(resolver, NamespacePolicy::Permitted { anchored: true });
    let permitted = NamespaceAnnotations { permitted: Some(".*".into()), ..NamespaceAnnotations::default() };
    directory.apply_namespace(&NamespaceFields { name: "team".into(), annotations: permitted });
    let annotations = RoleAnnotations { role: Some("reader".into()), ..RoleAnnotations::default() };
    let (uid, namespace, name) = ("1".into(), "team".into(), "a".into());
    directory.apply_pod(&PodFields { uid, namespace, name, annotations, ..PodFields::default() });
    Arc::new(directory)
}

impl Stand {
    async fn get(&self) -> Result<String, StsErrorKind> {
        let got = self.vault.get(&self.identity, Instant::now() + Duration::from_secs(20)).await;
        got.map(|issued| issued.credentials.access_key_id.clone()).map_err(|error| error.kind)
    }

    fn calls(&self) -> usize {
        self.sts.assumptions_of(ROLE).len()
    }
}

/// Each fault, what a pod with nothing is told that waits for the answer, and the calls that were made for it.
fn failures() -> Vec<(Fault, StsErrorKind, usize)> {
    let refusal = |refusal| Fault::Refuse(refusal);
    vec![
        (Fault::Hang, Unavailable, 3),
        (Fault::Delay(Duration::from_secs(2)), Unavailable, 3),
        (Fault::Drip(Duration::from_millis(20)), Unavailable, 3),
        (Fault::Reset, Unavailable, 3),
        (refusal(Refusal::server_error(StatusCode::INTERNAL_SERVER_ERROR)), Unavailable, 3),
        (refusal(Refusal::server_error(StatusCode::SERVICE_UNAVAILABLE)), Unavailable, 3),
        (refusal(Refusal::throttling()), Throttled, 3),
        (Fault::MalformedXml, Unavailable, 3),
        (Fault::EmptyCredentials, Unavailable, 3),
        (Fault::EndedBefore(Duration::from_secs(10)), Unavailable, 3),
        (refusal(Refusal::access_denied("the server", ROLE)), Refused, 1),
        (refusal(Refusal::validation("no")), Refused, 1),
        (refusal(Refusal::expired_token()), OwnCredentials, 1),
        (refusal(Refusal::unknown_caller()), OwnCredentials, 1),
    ]
}

#[tokio::test]
async fn every_fault_is_told_to_who_waits_and_costs_three_calls_at_most() {
    let trials = failures().into_iter().map(|(fault, kind, calls)| async move {
        let stand = stand(HOUR).await;
        stand.sts.set_fault(Scope::Everyone, fault.clone());
        assert_eq!((stand.get().await, stand.calls()), (Err(kind), calls), "{fault:?}");
        assert_eq!((stand.get().await, stand.calls()), (Err(kind), calls), "remembered: {fault:?}");
        println!("{kind:?} after {calls} calls: {fault:?}");
    });
    join_all(trials).await;
}

#[tokio::test]
async fn a_fault_that_passes_is_not_noticed_by_who_waits() {
    let passing = failures().into_iter().filter(|(_, _, calls)| *calls == 3);
    let trials = passing.map(|(fault, _, _)| async move {
        let stand = stand(HOUR).await;
        stand.sts.set_fault_times(Scope::Everyone, fault.clone(), 2);
        assert!(stand.get().await.is_ok(), "{fault:?}");
        assert_eq!(stand.calls(), 3, "{fault:?}");
    });
    join_all(trials).await;
}

#[tokio::test]
async fn no_fault_is_noticed_while_credentials_live() {
    let trials = failures().into_iter().map(|(fault, kind, _)| async move {
        // The pause after a refusal is longer than what is left of this session.
        let attempts = if kind.is_refusal() { 1 } else { 2 };
        let stand = stand(HOUR).await;
        stand.sts.set_fault_times(Scope::Everyone, Fault::SessionLife(Duration::from_secs(6)), 1);
        let key = stand.get().await.unwrap();
        stand.sts.set_fault(Scope::Everyone, fault.clone());
        eventually("attempts to renew", async || {
            assert_eq!(stand.get().await.as_ref(), Ok(&key), "{fault:?}");
            (stand.calls() > attempts).then_some(())
        })
        .await;
        stand.sts.clear_faults();
        eventually("the renewal", async || (stand.get().await.ok()? != key).then_some(())).await;
    });
    join_all(trials).await;
}

#[tokio::test]
async fn a_clock_of_sts_that_is_wrong_by_hours_changes_nothing() {
    for hours in [-3, -1, 1, 3] {
        let stand = stand(HOUR).await;
        stand.sts.set_fault(Scope::Everyone, Fault::ClockAhead(SignedDuration::from_hours(hours)));
        assert!(stand.get().await.is_ok(), "{hours}");
        let left = stand.vault.census().soonest_end.unwrap();
        assert!((3590..=3600).contains(&left.as_secs()), "{hours}: {left:?}");
        assert_eq!(stand.calls(), 1);
    }
}

#[tokio::test]
async fn credentials_that_end_in_ten_seconds_are_served_for_so_long() {
    let stand = stand(HOUR).await;
    stand.sts.set_fault(Scope::Everyone, Fault::SessionLife(Duration::from_secs(10)));
    assert!(stand.get().await.is_ok());
    let left = stand.vault.census().soonest_end.unwrap();
    assert!((8..=10).contains(&left.as_secs()), "{left:?}");
}

#[tokio::test]
async fn a_session_that_sts_finds_too_long_is_asked_for_with_an_hour() {
    let stand = stand(12 * HOUR).await;
    let lower = kiam_tests::sts::Role { max_session: HOUR, ..kiam_tests::sts::Role::default() };
    stand.sts.set_role(ROLE, lower);
    assert!(stand.get().await.is_ok());
    let asked: Vec<_> = stand.sts.assumptions_of(ROLE).into_iter().filter_map(|call| call.duration_seconds).collect();
    assert_eq!(asked, ["43200", "3600"]);
}
