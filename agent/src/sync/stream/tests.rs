//! The stream against servers on loopback. Time is paused: it moves only while nothing else does.

use std::net::{IpAddr, Ipv4Addr};

use futures_util::FutureExt as _;
use kiam_common::registry::Registry;
use kiam_proto::node::server_message::Message;
use kiam_proto::node::{Bind, Hello, Interception, MetricsWanted, Unbind};
use tokio::time::Instant;
use tonic::Status;

use super::fake::{Network, Opened, Supplying};
use super::*;
use crate::ledger::{Found, Opaque};
use crate::metrics::Metrics;
use crate::sync::fake::{Agent, Behaviour};

const A: &str = "10.0.0.1";
const B: &str = "10.0.0.2";

/// An agent that is supplied, or looks for somebody to.
struct Supplied {
    agent: Agent,
    ledger: Arc<Ledger>,
    registry: Registry,
}

impl Supplied {
    async fn new() -> Self {
        let (agent, registry) = (Agent::new().await, Registry::new());
        let ledger = Arc::new(Ledger::new(Arc::new(Opaque), Duration::from_secs(10)));
        Self { agent, ledger, registry }
    }

    /// Begins, once a server answers at one of these addresses.
    async fn begin(&self, addresses: &[SocketAddr]) {
        self.agent.resolver.answer(addresses);
        self.agent.run().await;
        self.begin_without_servers();
    }

    fn begin_without_servers(&self) {
        let hello = Hello { node: "node-1".into(), config_hash: "c0ffee".into(), ..Hello::default() };
        let reporter = Reporter {
            hello,
            ledger: self.ledger.clone(),
            metrics: Arc::new(Metrics::new(&self.registry).unwrap()),
            identity: self.agent.identity.clone(),
            rules: None,
            registry: self.registry.clone(),
            zone: std::future::ready("eu-west-1a".to_owned()).boxed().shared(),
        };
        let supplier = Supplier {
            endpoints: self.agent.endpoints.clone(),
            reporter: Arc::new(reporter),
            metrics: StreamMetrics::new(&self.registry).unwrap(),
        };
        tokio::spawn(supplier.keep_supplied(self.agent.shutdown.clone()));
    }

    /// Whose credentials a pod at this address would get.
    fn at(&self, ip: &str) -> Option<String> {
        match self.ledger.credentials(ip.parse().unwrap(), "reader", false) {
            Found::Held(document) => {
                let document: serde_json::Value = serde_json::from_slice(&document).unwrap();
                Some(document["AccessKeyId"].as_str().unwrap().to_owned())
            }
            _ => None,
        }
    }

    async fn until(&self, ip: &str, uid: Option<&str>) {
        let mut changes = self.ledger.changes();
        while self.at(ip).as_deref() != uid {
            changes.changed().await.unwrap();
        }
    }

    fn metric(&self, series: &str) -> Option<i64> {
        let text = prometheus::TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap();
        kiam_common::testing::metrics::count(&text, series)
    }

    fn moves(&self, why: &str) -> Option<i64> {
        self.metric(&format!(r#"kiam_stream_moves_total{{why="{why}"}}"#))
    }

    /// Servers `a` and `b`, and the stream that the agent has opened to one of them, whose snapshot is sent.
    async fn by_one_of_two(&self) -> (Opened, Supplying, Supplying) {
        let (mut one, mut two) = (self.agent.supplying("a").await, self.agent.supplying("b").await);
        self.begin(&[one.server.address, two.server.address]).await;
        let mut stream = tokio::select! {
            stream = one.opened() => stream,
            stream = two.opened() => {
                std::mem::swap(&mut one, &mut two);
                stream
            }
        };
        stream.snapshot(&[(A, "a-1")]);
        self.until(A, Some("a-1")).await;
        sleep(PAUSE_MAX).await;
        (stream, one, two)
    }
}

#[tokio::test(start_paused = true)]
async fn that_no_server_answers_is_known_though_no_pod_asks() {
    let supplied = Supplied::new().await;
    let (stream, one, two) = supplied.by_one_of_two().await;
    drop((stream, one, two));
    sleep(3 * PAUSE_MAX).await;
    assert!(!supplied.agent.endpoints.is_reachable());
    assert_eq!(supplied.agent.readiness.waiting_for(), ["server"]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_gives_no_stream_answers_all_the_same() {
    let supplied = Supplied::new().await;
    let (stream, one, two) = supplied.by_one_of_two().await;
    one.streams.refuse(Some(Status::unavailable("not ready")));
    drop((stream, two));
    for _ in 0..100 {
        sleep(PAUSE_MIN).await;
        assert!(supplied.agent.endpoints.is_reachable());
    }
    assert!(one.streams.attempts() > 2);
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_is_in_effect_when_it_is_complete_and_not_before() {
    let supplied = Supplied::new().await;
    let mut server = supplied.agent.supplying("a").await;
    supplied.begin(&[server.server.address]).await;
    let mut stream = server.opened().await;
    assert_eq!((stream.hello.node.as_str(), stream.hello.config_hash.as_str()), ("node-1", "c0ffee"));
    stream.bind(A, "a-1");
    stream.bind(B, "b-1");
    sleep(Duration::from_secs(1)).await;
    assert_eq!((supplied.at(A), supplied.ledger.is_supplied()), (None, false));
    stream.say(Message::SnapshotEnd(kiam_proto::node::SnapshotEnd {}));
    let status = stream.status().await;
    assert_eq!((status.applied_sequence, status.unpinned), (5, 2));
    assert_eq!((supplied.at(A).as_deref(), supplied.at(B).as_deref()), (Some("a-1"), Some("b-1")));
}

#[tokio::test(start_paused = true)]
async fn changes_take_effect_as_they_come_and_are_reported_every_few_seconds() {
    let supplied = Supplied::new().await;
    let mut server = supplied.agent.supplying("a").await;
    supplied.begin(&[server.server.address]).await;
    let mut stream = server.opened().await;
    stream.snapshot(&[(A, "a-1")]);
    assert_eq!(stream.status().await.applied_sequence, 4);
    stream.bind(A, "a-2");
    supplied.until(A, Some("a-2")).await;
    stream.say(Message::Unbind(Unbind { ip: A.into() }));
    supplied.until(A, None).await;
    for _ in 0..5 {
        let started = Instant::now();
        let status = stream.status().await;
        assert!((4.4..5.6).contains(&started.elapsed().as_secs_f64()), "{:?}", started.elapsed());
        assert_eq!((status.applied_sequence, status.unpinned), (7, 0));
        assert_eq!(status.certificate_not_after, supplied.agent.identity.not_after());
        assert_eq!(status.interception(), Interception::Unspecified);
    }
}

#[tokio::test(start_paused = true)]
async fn what_makes_no_sense_is_left_out_and_counted() {
    let supplied = Supplied::new().await;
    let mut server = supplied.agent.supplying("a").await;
    supplied.begin(&[server.server.address]).await;
    let mut stream = server.opened().await;
    stream.snapshot(&[(A, "a-1"), (B, "b-1")]);
    supplied.until(A, Some("a-1")).await;
    stream.say(Message::Bind(Bind { ip: "nonsense".into(), ..Bind::default() }));
    stream.say(Message::Bind(Bind { ip: B.into(), ..Bind::default() }));
    supplied.until(B, None).await;
    assert_eq!(supplied.at(A).as_deref(), Some("a-1"));
    assert_eq!(supplied.metric("kiam_ledger_skipped_total"), Some(2));
    assert!(server.is_left_alone());
}

#[tokio::test(start_paused = true)]
async fn a_gap_is_a_new_stream_and_what_is_known_counts_meanwhile() {
    let supplied = Supplied::new().await;
    let (mut stream, _one, mut two) = supplied.by_one_of_two().await;
    stream.skip();
    stream.bind(A, "a-2");
    let mut next = two.opened().await;
    assert_eq!((supplied.at(A).as_deref(), supplied.ledger.is_supplied()), (Some("a-1"), false));
    stream.left().await;
    next.snapshot(&[(A, "a-3")]);
    supplied.until(A, Some("a-3")).await;
    assert_eq!((supplied.moves("gap"), supplied.moves("lost")), (Some(1), Some(0)));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_asks_to_leave_is_left_when_another_has_taken_over() {
    let supplied = Supplied::new().await;
    let (mut stream, _one, mut two) = supplied.by_one_of_two().await;
    stream.send_away();
    let mut next = two.opened().await;
    stream.bind(A, "a-2");
    supplied.until(A, Some("a-2")).await;
    next.bind(A, "a-2");
    sleep(Duration::from_secs(1)).await;
    assert!(supplied.ledger.is_supplied());
    next.snapshot(&[(A, "a-3")]);
    supplied.until(A, Some("a-3")).await;
    assert!(supplied.ledger.is_supplied());
    let next_is_there = Instant::now();
    stream.left().await;
    assert!(next_is_there.elapsed() < Duration::from_secs(1), "a server that stops waits for agents that stay");
    assert_eq!((supplied.moves("go_away"), supplied.moves("lost")), (Some(1), Some(0)));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_ends_while_it_is_left_is_lost() {
    let supplied = Supplied::new().await;
    let (mut stream, _one, mut two) = supplied.by_one_of_two().await;
    stream.send_away();
    let mut next = two.opened().await;
    drop(stream);
    sleep(Duration::from_millis(100)).await;
    assert!(!supplied.ledger.is_supplied());
    next.snapshot(&[(A, "a-2")]);
    supplied.until(A, Some("a-2")).await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_ends_is_replaced_by_another_servers_within_100_ms() {
    let supplied = Supplied::new().await;
    let (stream, _one, mut two) = supplied.by_one_of_two().await;
    let lost = Instant::now();
    drop(stream);
    let mut next = two.opened().await;
    next.snapshot(&[(A, "a-2")]);
    supplied.until(A, Some("a-2")).await;
    assert!(lost.elapsed() <= Duration::from_millis(100), "{:?}", lost.elapsed());
    assert_eq!(supplied.moves("lost"), Some(1));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_not_ready_or_never_completes_its_snapshot_is_passed_over() {
    let supplied = Supplied::new().await;
    let mut servers = [supplied.agent.supplying("a").await, supplied.agent.supplying("b").await];
    servers[0].streams.refuse(Some(Status::unavailable("not ready")));
    supplied.begin(&[servers[0].server.address, servers[1].server.address]).await;
    let started = Instant::now();
    let stuck = servers[1].opened().await;
    assert!(started.elapsed() < Duration::from_millis(100), "{:?}", started.elapsed());
    stuck.left().await;
    assert_eq!(started.elapsed().as_secs(), 5);
    let mut stream = servers[1].opened().await;
    stream.snapshot(&[(A, "a-1")]);
    supplied.until(A, Some("a-1")).await;
    assert!(servers[0].is_left_alone());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_vanishes_without_a_word_is_noticed_within_12_seconds() {
    let supplied = Supplied::new().await;
    let mut server = supplied.agent.supplying("a").await;
    let network = Network::to(server.server.address).await;
    supplied.begin(&[network.address]).await;
    let mut stream = server.opened().await;
    stream.snapshot(&[(A, "a-1")]);
    supplied.until(A, Some("a-1")).await;
    sleep(Duration::from_mins(1)).await;
    assert!(supplied.ledger.is_supplied());
    let silent = Instant::now();
    network.fall_silent();
    let mut changes = supplied.ledger.changes();
    while supplied.ledger.is_supplied() {
        changes.changed().await.unwrap();
    }
    assert!(silent.elapsed() <= Duration::from_secs(12), "{:?}", silent.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_server_of_kiam_v4_is_asked_by_calls_and_for_a_stream_once_a_minute() {
    let supplied = Supplied::new().await;
    let kiam_v4 = supplied.agent.server("v4", Behaviour::Answer).await;
    supplied.begin(&[kiam_v4.address]).await;
    sleep(Duration::from_secs(30)).await;
    let pod = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let calls = crate::unary::Calls::new(supplied.agent.endpoints.clone());
    let role = crate::unary::Server::role(&calls, pod, Instant::now() + Duration::from_secs(5)).await;
    assert_eq!((role.unwrap().what.as_str(), supplied.agent.readiness.is_ready()), ("v4", true));

    let mut newer = supplied.agent.supplying("a").await;
    newer.streams.refuse(Some(Status::unimplemented("not yet")));
    supplied.agent.resolver.answer(&[newer.server.address]);
    sleep(Duration::from_secs(10)).await;
    newer.streams.refuse(None);
    let updated = Instant::now();
    newer.opened().await.snapshot(&[(A, "a-1")]);
    supplied.until(A, Some("a-1")).await;
    assert!((50..=60).contains(&updated.elapsed().as_secs()), "{:?}", updated.elapsed());
}

#[tokio::test(start_paused = true)]
async fn new_addresses_are_asked_for_a_stream_at_once() {
    let supplied = Supplied::new().await;
    let kiam_v4 = supplied.agent.server("v4", Behaviour::Answer).await;
    supplied.begin(&[kiam_v4.address]).await;
    sleep(Duration::from_secs(1)).await;
    let mut newer = supplied.agent.supplying("a").await;
    supplied.agent.resolver.answer(&[kiam_v4.address, newer.server.address]);
    let updated = Instant::now();
    newer.opened().await;
    assert!(updated.elapsed() <= Duration::from_secs(6), "{:?}", updated.elapsed());
}

#[tokio::test(start_paused = true)]
async fn without_servers_the_agent_goes_on_trying_with_measure() {
    let supplied = Supplied::new().await;
    let mut server = supplied.agent.supplying("a").await;
    server.streams.refuse(Some(Status::unavailable("not ready")));
    supplied.begin(&[server.server.address]).await;
    sleep(Duration::from_mins(1)).await;
    let attempts = server.streams.attempts();
    assert!((30..90).contains(&attempts), "{attempts}");
    server.streams.refuse(None);
    let back = Instant::now();
    server.opened().await;
    assert!(back.elapsed() <= PAUSE_MAX, "{:?}", back.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_ends_as_soon_as_it_begins_is_not_opened_in_a_loop() {
    let supplied = Supplied::new().await;
    let mut server = supplied.agent.supplying("a").await;
    supplied.begin(&[server.server.address]).await;
    let started = Instant::now();
    let mut streams = Vec::new();
    for _ in 0..30 {
        let mut stream = server.opened().await;
        stream.snapshot(&[(A, "a-1")]);
        stream.send_away();
        streams.push(stream);
    }
    assert!(started.elapsed() > Duration::from_secs(10), "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_renewed_certificate_is_a_new_stream_and_the_old_one_lasts_until_then() {
    let supplied = Supplied::new().await;
    let agent = &supplied.agent;
    tokio::spawn(agent.identity.clone().keep_current(agent.shutdown.clone()));
    let (stream, mut one, mut two) = supplied.by_one_of_two().await;
    agent.pki.reissue(&agent.files, &["agent"]);
    let mut next = tokio::select! {
        next = one.opened() => next,
        next = two.opened() => next,
    };
    assert!(supplied.ledger.is_supplied());
    next.snapshot(&[(A, "a-2")]);
    supplied.until(A, Some("a-2")).await;
    stream.left().await;
    assert_eq!((supplied.moves("replaced"), supplied.moves("lost")), (Some(1), Some(0)));
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_agent_is_the_end_of_its_stream() {
    let supplied = Supplied::new().await;
    let (stream, _one, _two) = supplied.by_one_of_two().await;
    supplied.agent.shutdown.begin();
    stream.left().await;
}

#[tokio::test(start_paused = true)]
async fn the_agents_series_are_sent_when_they_are_wanted_and_its_status_goes_on() {
    let supplied = Supplied::new().await;
    let mut server = supplied.agent.supplying("a").await;
    supplied.begin(&[server.server.address]).await;
    let mut stream = server.opened().await;
    assert_eq!(stream.hello.zone, "eu-west-1a");
    stream.snapshot(&[(A, "a-1")]);
    stream.status().await;
    for id in [1, 2] {
        stream.say(Message::MetricsWanted(MetricsWanted { id }));
        let series = stream.series(id).await;
        assert!(series.iter().any(|family| family.name == "kiam_metadata_success_total"), "{series:?}");
    }
    stream.status().await;
}
