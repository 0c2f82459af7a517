//! All addresses of `--server-address`, each with a connection, kept current: looked up again every few seconds and
//! when calls fail, connected anew when the TLS identity changes. `unary/calls.rs` and `stream` take them in turn; `app.rs`
//! runs [`Endpoints::keep_current`].
//!
//! What must always hold: what is known stays in use until something better is. A name that does not resolve takes
//! no address away, a new connection is tried before it takes an old one's place, and calls in flight on an old one
//! finish.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::future::join_all;
use kiam_common::ops::Blocker;
use kiam_common::shutdown::Shutdown;
use kiam_proto::kiam::GetHealthRequest;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::endpoint::{Connector, Endpoint};
use super::resolver::Resolver;

/// The longest pause between two look-ups of the name, while a server answers.
const LOOK_UP_EVERY: Duration = Duration::from_secs(5);
/// The longest pause between two look-ups, after each of which all are asked, while none answers.
const TRY_EVERY: Duration = Duration::from_secs(1);
/// The least pause between two look-ups, however many calls fail.
const LOOK_UP_PAUSE: Duration = Duration::from_millis(500);
/// How long a look-up, or trying a new connection, may take.
const TRY_WITHIN: Duration = Duration::from_secs(2);

/// The servers.
pub(crate) struct Endpoints {
    pool: ArcSwap<Pool>,
    changed: watch::Sender<()>,
    turn: AtomicUsize,
    connector: Connector,
    resolver: Arc<dyn Resolver>,
    doubt: Notify,
    resolves: AtomicBool,
    reachable: AtomicBool,
    blocker: Blocker,
}

#[derive(Default)]
struct Pool {
    /// Of the identity that the connections were made with.
    generation: u64,
    /// In the order of their addresses.
    endpoints: Vec<Arc<Endpoint>>,
}

impl Endpoints {
    /// No addresses yet. `blocker` is set while no server answers: before the first has, and after all have failed.
    pub(crate) fn new(connector: Connector, resolver: Arc<dyn Resolver>, blocker: Blocker) -> Self {
        Self {
            pool: ArcSwap::default(),
            changed: watch::Sender::new(()),
            // Anywhere, so that not all agents begin with the same server.
            turn: AtomicUsize::new(fastrand::u16(..).into()),
            connector,
            resolver,
            doubt: Notify::new(),
            resolves: AtomicBool::new(true),
            reachable: AtomicBool::new(false),
            blocker,
        }
    }

    /// Every endpoint, in the order in which one caller should ask them: each call begins with another one, and
    /// those in doubt come last.
    pub(crate) fn in_turn(&self) -> Vec<Arc<Endpoint>> {
        let mut endpoints = self.pool.load().endpoints.clone();
        if !endpoints.is_empty() {
            let first = self.turn.fetch_add(1, Ordering::Relaxed) % endpoints.len();
            endpoints.rotate_left(first);
            endpoints.sort_by_key(|endpoint| endpoint.is_doubted());
        }
        endpoints
    }

    /// Tells of every change of the endpoints.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Waits until this endpoint is no longer one of those in use.
    pub(crate) async fn retired(&self, endpoint: &Arc<Endpoint>) {
        let mut changes = self.changes();
        while self.pool.load().endpoints.iter().any(|other| Arc::ptr_eq(other, endpoint)) {
            // The sender lives in `self`, so this cannot end early.
            let _changed = changes.changed().await;
        }
    }

    /// Whether a server answers, as far as is known.
    pub(crate) fn is_reachable(&self) -> bool {
        self.reachable.load(Ordering::Relaxed)
    }

    /// A server answered, whatever it said.
    pub(crate) fn answered(&self, endpoint: &Endpoint) {
        endpoint.trust();
        if !self.reachable.swap(true, Ordering::Relaxed) {
            tracing::info!(address = %endpoint.address(), "a server answers");
            self.blocker.clear();
        }
    }

    /// One server could not be asked. The name may have other addresses by now.
    pub(crate) fn failed(&self, endpoint: &Endpoint) {
        endpoint.doubt();
        self.doubt.notify_one();
    }

    /// No server could be asked.
    pub(crate) fn all_failed(&self, why: &str) {
        self.doubt.notify_one();
        if self.reachable.swap(false, Ordering::Relaxed) {
            tracing::warn!(why, "no server answers");
            self.blocker.set();
        }
    }

    /// Keeps addresses and connections current until shutdown. `identity` counts the reloads of the TLS identity.
    pub(crate) async fn keep_current(self: Arc<Self>, mut identity: watch::Receiver<u64>, shutdown: Shutdown) {
        loop {
            let generation = *identity.borrow_and_update();
            tokio::select! {
                () = self.refresh(generation) => {}
                () = shutdown.begun() => return,
            }
            let every = if self.is_reachable() { LOOK_UP_EVERY } else { TRY_EVERY };
            let latest = Instant::now() + every;
            let due = async {
                sleep(LOOK_UP_PAUSE).await;
                tokio::select! {
                    () = sleep_until(latest) => {}
                    () = self.doubt.notified() => {}
                    Ok(()) = identity.changed() => {}
                }
            };
            tokio::select! {
                () = due => {}
                () = shutdown.begun() => return,
            }
        }
    }

    /// Looks the name up, connects to what is new, and asks around while no server is known to answer.
    async fn refresh(&self, generation: u64) {
        let old = self.pool.load_full();
        let known = || old.endpoints.iter().map(|endpoint| endpoint.address()).collect();
        let addresses = self.look_up().await.unwrap_or_else(known);
        let is_same = addresses.iter().copied().eq(old.endpoints.iter().map(|endpoint| endpoint.address()));
        if generation != old.generation || !is_same {
            self.replace(&old, generation, &addresses).await;
        }
        if !self.is_reachable() {
            let pool = self.pool.load_full();
            join_all(pool.endpoints.iter().map(|endpoint| self.try_out(endpoint))).await;
        }
    }

    /// The addresses in order, or none if there is no telling.
    async fn look_up(&self) -> Option<Vec<SocketAddr>> {
        let outcome = timeout(TRY_WITHIN, self.resolver.resolve()).await;
        let mut addresses = match outcome.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(addresses) => addresses,
            Err(error) => {
                if self.resolves.swap(false, Ordering::Relaxed) {
                    tracing::warn!(%error, "--server-address cannot be looked up; going on with what is known");
                }
                return None;
            }
        };
        self.resolves.store(true, Ordering::Relaxed);
        addresses.sort_unstable();
        addresses.dedup();
        Some(addresses).filter(|addresses| !addresses.is_empty())
    }

    /// Puts a new pool in place: connections that are still good stay, new ones are tried out first. If there is no
    /// old one to go on with, the new ones are in use at once.
    async fn replace(&self, old: &Pool, generation: u64, addresses: &[SocketAddr]) {
        let kept = |address: SocketAddr| {
            let same = |endpoint: &&Arc<Endpoint>| endpoint.address() == address;
            old.endpoints.iter().find(same).filter(|_| generation == old.generation).cloned()
        };
        let (mut endpoints, mut new) = (Vec::new(), Vec::new());
        for &address in addresses {
            endpoints.push(kept(address).unwrap_or_else(|| {
                let endpoint = self.connector.endpoint(address);
                new.push(endpoint.clone());
                endpoint
            }));
        }
        tracing::info!(?addresses, generation, "servers");
        let pool = Arc::new(Pool { generation, endpoints });
        if old.endpoints.is_empty() {
            self.put(pool.clone());
        }
        join_all(new.iter().map(|endpoint| self.try_out(endpoint))).await;
        self.put(pool);
    }

    fn put(&self, pool: Arc<Pool>) {
        self.pool.store(pool);
        self.changed.send_replace(());
    }

    /// Connects to a server and sees whether it answers.
    async fn try_out(&self, endpoint: &Endpoint) {
        match timeout(TRY_WITHIN, endpoint.client().get_health(GetHealthRequest {})).await {
            Ok(Ok(_)) => self.answered(endpoint),
            Ok(Err(status)) => {
                tracing::debug!(address = %endpoint.address(), message = status.message(), "a server does not answer");
                endpoint.doubt();
            }
            Err(_) => endpoint.doubt(),
        }
    }
}
