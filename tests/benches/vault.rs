//! How long a cold vault takes for 2,000 roles and 3,000 callers at once, against the least that the limit of 64 calls
//! of 200 ms allows; and what it costs to make the bytes of an answer.
//!
//! `cargo bench -p kiam-tests --bench vault`. The least is measured too, by as many bare sleeps behind a semaphore, in
//! turns with the vault, so that both suffer alike from a busy machine.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use kiam_common::clock::Clock;
use kiam_common::credentials::{Credentials, Issued};
use kiam_common::role::{RoleArn, RoleIdentity, SessionName};
use kiam_common::secret::Secret;
use kiam_server::directory::Directory;
use kiam_server::metrics::VaultMetrics;
use kiam_server::policy::namespace::NamespacePolicy;
use kiam_server::role::resolver::Resolver;
use kiam_server::sts::fake::FakeSts;
use kiam_server::vault::{Limits, Settings, Vault};
use prost::Message as _;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

const ROLES: u16 = 2000;
const CALLERS: u16 = 3000;
const AT_ONCE: u16 = 64;
const LATENCY: Duration = Duration::from_millis(200);
const ROUNDS: usize = 5;
const ANSWERS: u32 = 1_000_000;

#[tokio::main]
async fn main() {
    let (mut bare, mut vault) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        bare.push(bare_sleeps().await);
        vault.push(cold_start().await);
    }
    let ideal = f64::from(ROLES) / f64::from(AT_ONCE) * LATENCY.as_secs_f64();
    let (bare, vault) = (median(bare), median(vault));
    println!(
        "cold start, {ROLES} roles, {CALLERS} callers, {AT_ONCE} calls of {LATENCY:?} at once, median of {ROUNDS}:"
    );
    println!("  by arithmetic      {ideal:>7.3} s");
    println!("  bare sleeps        {bare:>7.3} s  {:.3} of it", bare / ideal);
    println!("  the vault          {vault:>7.3} s  {:.3} of it (target 1.2), {ROLES} calls exactly", vault / ideal);
    let (encoded, copied) = answers();
    println!("an answer's bytes: {encoded:.0} ns encoded anew, {copied:.0} ns copied");
    println!(
        r#"{{"bench":"vault","cold_start_ratio":{:.4},"bare_ratio":{:.4},"encode_ns":{encoded:.0},"copy_ns":{copied:.0}}}"#,
        vault / ideal,
        bare / ideal
    );
}

async fn bare_sleeps() -> f64 {
    let (start, places) = (Instant::now(), Arc::new(Semaphore::new(AT_ONCE.into())));
    let mut sleepers = JoinSet::new();
    for _ in 0..ROLES {
        let places = Arc::clone(&places);
        sleepers.spawn(async move {
            let _place = places.acquire().await;
            sleep(LATENCY).await;
        });
    }
    sleepers.join_all().await;
    start.elapsed().as_secs_f64()
}

async fn cold_start() -> f64 {
    let clock = Clock::system();
    let sts = Arc::new(FakeSts::new(clock.clone()));
    sts.answer_after(LATENCY);
    let resolver =
        Resolver::new("arn:aws:iam::123456789012:role/".parse().expect("it is one"), SessionName::from_text("k"));
    let directory = Arc::new(Directory::new(resolver, NamespacePolicy::Permitted { anchored: true }));
    let metrics = VaultMetrics::new(&kiam_common::registry::Registry::new()).expect("a fresh registry");
    let settings = Settings {
        session_duration: Duration::from_hours(1),
        session_refresh: Duration::from_mins(30),
        capacity: 10_000,
        prefetch_buffer: 1000,
        // The vault has one more place for pods that wait.
        limits: Limits { at_once: usize::from(AT_ONCE) - 1, per_second: 590 },
        attempt_timeout: Duration::from_secs(8),
    };
    let vault = Arc::new(Vault::new(Arc::clone(&sts) as _, clock, directory, &settings, metrics));
    let start = Instant::now();
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let (vault, identity) = (Arc::clone(&vault), identity(caller % ROLES));
        callers.spawn(async move { vault.get(&identity, start + Duration::from_mins(1)).await });
    }
    for got in callers.join_all().await {
        got.expect("the fake grants everything");
    }
    let took = start.elapsed().as_secs_f64();
    assert_eq!(sts.calls().len(), usize::from(ROLES), "one call for each role, whoever asks");
    took
}

fn identity(number: u16) -> Arc<RoleIdentity> {
    let arn = RoleArn::parse(&format!("arn:aws:iam::123456789012:role/role-{number}")).expect("it is one");
    Arc::new(RoleIdentity { arn, session_name: SessionName::from_text("kiam"), external_id: None })
}

/// Nanoseconds for the bytes of an answer: encoded from the credentials, and copied from bytes encoded before.
fn answers() -> (f64, f64) {
    let credentials = Credentials {
        access_key_id: "ASIAIOSFODNN7EXAMPLE".into(),
        secret_access_key: Secret::new("s".repeat(40)),
        session_token: Secret::new("t".repeat(900)),
        expiration: jiff::Timestamp::UNIX_EPOCH,
        last_updated: jiff::Timestamp::UNIX_EPOCH,
    };
    let role = identity(0).arn.clone();
    let timed = |make: &dyn Fn() -> Vec<u8>| {
        let start = Instant::now();
        for _ in 0..ANSWERS {
            black_box(make());
        }
        start.elapsed().as_secs_f64() * 1e9 / f64::from(ANSWERS)
    };
    let each_time = timed(&|| black_box(&credentials).to_wire(&role).encode_to_vec());
    let issued = Issued::new(credentials.clone(), &role);
    (each_time, timed(&|| black_box(&issued).encoded.encode_to_vec()))
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
