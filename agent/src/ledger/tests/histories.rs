//! Random histories of one node against what is really there: pods start, stop and take over each other's addresses;
//! two servers learn of it late, each in its own time; the agent moves between them, and is without any.
//!
//! An agent can be told of a pod that it never heard of only after that pod is gone, by a server that lags; nothing on
//! the node tells that apart from news. So here a pod stops only after the agent has heard of it.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;

use super::*;

const HISTORIES: u64 = 400;
const STEPS: usize = 120;
const ADDRESSES: u8 = 4;

fn address(n: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, n])
}

/// Whose an address is: pods are numbered, and so are their interfaces and sessions.
type View = BTreeMap<u8, u32>;

struct World {
    rng: Rng,
    ledger: Ledger,
    /// None: nothing can be pinned.
    network: Option<Arc<FakeNetwork>>,
    pods: u32,
    /// All that was ever true, the last being true now.
    truth: Vec<View>,
    /// How much of it each server has learnt.
    learnt: [usize; 2],
    stream: Option<usize>,
    lost_at: Instant,
    /// The pods that the agent has heard of.
    heard: BTreeSet<u32>,
}

impl World {
    fn new(seed: u64, network: Option<Arc<FakeNetwork>>) -> Self {
        let pinning: Arc<dyn Network> = match &network {
            Some(network) => network.clone(),
            None => Arc::new(Opaque),
        };
        Self {
            rng: Rng::with_seed(seed),
            ledger: Ledger::new(pinning, MAX_STALE),
            network,
            pods: 0,
            truth: vec![View::new()],
            learnt: [0, 0],
            stream: None,
            lost_at: Instant::now(),
            heard: BTreeSet::new(),
        }
    }

    fn now(&self) -> &View {
        self.truth.last().unwrap()
    }

    fn view(&self, server: usize) -> View {
        self.truth[self.learnt[server]].clone()
    }

    async fn step(&mut self) {
        match self.rng.u8(..16) {
            0..=3 => self.start_pod(),
            4..=6 => self.stop_pod(),
            7..=11 => self.learn(),
            12 | 13 => self.open_stream(),
            14 => self.lose_stream(),
            _ => advance(Duration::from_millis(self.rng.u64(..4000))).await,
        }
    }

    fn start_pod(&mut self) {
        let n = self.rng.u8(..ADDRESSES);
        let mut next = self.now().clone();
        if next.contains_key(&n) {
            return;
        }
        self.pods += 1;
        next.insert(n, self.pods);
        self.truth.push(next);
        if let Some(network) = &self.network {
            network.lead(address(n), self.pods, None);
            self.ledger.examine(address(n));
        }
    }

    fn stop_pod(&mut self) {
        let n = self.rng.u8(..ADDRESSES);
        let mut next = self.now().clone();
        if !next.remove(&n).is_some_and(|pod| self.heard.contains(&pod)) {
            return;
        }
        self.truth.push(next);
        if let Some(network) = &self.network {
            network.cut(address(n));
            self.ledger.examine(address(n));
        }
    }

    /// One of the servers learns something, and tells the agent if it supplies it.
    fn learn(&mut self) {
        let server = self.rng.usize(..2);
        let before = self.view(server);
        self.learnt[server] = self.rng.usize(self.learnt[server]..self.truth.len());
        if self.stream == Some(server) {
            self.tell(&before, &self.view(server));
        }
    }

    fn tell(&mut self, before: &View, after: &View) {
        for n in 0..ADDRESSES {
            let changes = match (before.get(&n), after.get(&n)) {
                (old, new) if old == new => continue,
                (_, Some(pod)) => said(n, *pod),
                (_, None) => vec![Change::Unbind(address(n))],
            };
            self.ledger.apply(changes).unwrap();
        }
        self.heard.extend(after.values());
    }

    fn open_stream(&mut self) {
        let server = self.rng.usize(..2);
        let view = self.view(server);
        self.ledger.replace(snapshot(view.iter().flat_map(|(n, pod)| said(*n, *pod))));
        self.heard.extend(view.values());
        self.stream = Some(server);
    }

    fn lose_stream(&mut self) {
        if self.stream.take().is_some() {
            self.ledger.lost();
            self.lost_at = Instant::now();
        }
    }

    /// No pod gets another's credentials, and nothing that is too old counts.
    fn check(&self) {
        for n in 0..ADDRESSES {
            let Found::Held(text) = ask(&self.ledger, address(n)) else { continue };
            let pod: u32 = std::str::from_utf8(&text).unwrap().parse().unwrap();
            if self.network.is_some() {
                assert_eq!(self.now().get(&n), Some(&pod), "address {n} is another pod's");
            } else {
                let is_current = self.stream.is_some_and(|server| self.view(server).get(&n) == Some(&pod));
                let is_recent = self.stream.is_none() && self.lost_at.elapsed() < MAX_STALE;
                assert!(is_current || is_recent, "address {n}: pod {pod} is not what a server says");
            }
        }
    }

    /// Once servers know everything, every pod is served.
    fn settle(&mut self) {
        self.learnt = [self.truth.len() - 1; 2];
        self.open_stream();
        for n in 0..ADDRESSES {
            match self.now().get(&n) {
                Some(pod) => assert_eq!(ask(&self.ledger, address(n)), Found::Held(pod.to_string().into())),
                None => assert_eq!(ask(&self.ledger, address(n)), Found::AskServer),
            }
        }
    }
}

fn said(n: u8, pod: u32) -> Vec<Change> {
    let (text, session) = (pod.to_string(), pod.into());
    vec![bind(address(n), &text, session), grant(session, &text, HOUR)]
}

/// Says which history failed: `Rng::with_seed` makes it again.
struct Named(u64);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the history with seed {} failed", self.0);
        }
    }
}

async fn run(pinned: bool) {
    let first = fastrand::u64(..u64::MAX - HISTORIES);
    for seed in first..first + HISTORIES {
        let _named = Named(seed);
        let mut world = World::new(seed, pinned.then(Arc::default));
        for _ in 0..STEPS {
            world.step().await;
            world.check();
        }
        world.settle();
    }
}

#[tokio::test(start_paused = true)]
async fn with_pins_no_pod_ever_gets_the_credentials_of_one_that_had_its_address() {
    run(true).await;
}

#[tokio::test(start_paused = true)]
async fn without_pins_the_ledger_says_what_a_server_says_or_said_a_moment_ago() {
    run(false).await;
}
