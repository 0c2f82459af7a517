//! What is known of other servers, whatever they do.

use std::collections::BTreeMap;
use std::io;
use std::sync::Mutex as StdMutex;

use async_trait::async_trait;
use kiam_common::registry::Registry;
use kiam_common::testing::CapturedLog;
use tokio::time::{advance, pause, sleep};

use super::*;
use crate::fixtures::count;

/// Servers that do as they are told; by the last number of their address.
#[derive(Debug, Default)]
struct FakeServers {
    names: BTreeMap<&'static str, Vec<u8>>,
    /// What each calls itself and how long it takes; who is not here is away.
    servers: BTreeMap<u8, (&'static str, Duration)>,
    asked: StdMutex<Vec<SocketAddr>>,
}

fn at(number: u8) -> SocketAddr {
    ([10, 0, 0, number], 443).into()
}

#[async_trait]
impl Ask for FakeServers {
    async fn look_up(&self, name: &HostPort) -> io::Result<Vec<SocketAddr>> {
        let numbers = self.names.get(&*name.host).ok_or(io::ErrorKind::NotFound)?;
        Ok(numbers.iter().map(|number| at(*number)).collect())
    }

    async fn nodes(&self, peer: &Peer) -> Result<wire::ListNodesResponse, String> {
        self.asked.lock().unwrap().push(peer.address);
        let SocketAddr::V4(address) = peer.address else { panic!("not of these: {peer:?}") };
        let (instance, takes) = *self.servers.get(&address.ip().octets()[3]).ok_or("away")?;
        sleep(takes).await;
        let node = wire::Node { name: format!("node-{instance}"), ..wire::Node::default() };
        Ok(wire::ListNodesResponse { instance: instance.into(), nodes: vec![node], ..Default::default() })
    }

    async fn series(&self, peer: &Peer, _per_node: bool) -> Result<Vec<wire::CollectedMetrics>, String> {
        if peer.address == at(2) { Ok(vec![wire::CollectedMetrics::default()]) } else { Err("no".into()) }
    }
}

/// This server, called `a`, and others.
struct Stand {
    servers: Arc<FakeServers>,
    peers: Peers,
    registry: Registry,
}

fn stand(names: &[(&'static str, &[u8])], servers: &[(u8, &'static str, u64)]) -> Stand {
    pause();
    let asked = names.iter().map(|(name, _)| format!("{name}:443").parse().unwrap()).collect();
    let servers = Arc::new(FakeServers {
        names: names.iter().filter(|(_, at)| !at.is_empty()).map(|(name, at)| (*name, at.to_vec())).collect(),
        servers: servers.iter().map(|(at, name, takes)| (*at, (*name, Duration::from_millis(*takes)))).collect(),
        asked: StdMutex::default(),
    });
    let registry = Registry::new();
    let metrics = PeerMetrics::new(&registry).unwrap();
    let peers = Peers::new(asked, Arc::clone(&servers) as _, "a".into(), metrics);
    Stand { servers, peers, registry }
}

impl Stand {
    /// Who answered.
    async fn instances(&self) -> Vec<String> {
        let answers = self.peers.nodes().await;
        let said = answers.iter().filter_map(|answer| answer.said.as_ref().ok());
        said.map(|(_, said)| said.instance.clone()).collect()
    }

    /// How many answered, and how many did not, by the metrics.
    fn counted(&self) -> (i64, i64) {
        (count(&self.registry, "kiam_peers_answering"), count(&self.registry, "kiam_peers_missing"))
    }

    fn asked(&self) -> usize {
        self.servers.asked.lock().unwrap().len()
    }
}

#[tokio::test]
async fn every_other_server_is_asked_at_every_address_and_counts_once() {
    let servers = [(1, "a", 0), (2, "b", 0), (3, "c", 0), (4, "b", 0)];
    let stand = stand(&[("kiam-server", &[1, 2, 3]), ("also", &[3, 4])], &servers);
    assert_eq!(stand.instances().await, ["b", "c"]);
    assert_eq!((stand.counted(), stand.asked()), ((2, 0), 5));
}

#[tokio::test]
async fn older_servers_that_do_not_say_who_they_are_all_count() {
    let stand = stand(&[("kiam-server", &[2, 3])], &[(2, "", 0), (3, "", 0)]);
    assert_eq!(stand.instances().await.len(), 2);
}

#[tokio::test]
async fn who_is_away_or_late_or_has_no_address_is_left_out_counted_and_logged() {
    let log = CapturedLog::start();
    let servers = [(1, "a", 0), (2, "b", 1900), (3, "c", 2100)];
    let stand = stand(&[("kiam-server", &[1, 2, 3, 4]), ("nobody", &[])], &servers);
    let begun = Instant::now();
    assert_eq!(stand.instances().await, ["b"]);
    assert_eq!((stand.counted(), begun.elapsed().as_secs()), ((1, 3), NODES_WITHIN.as_secs()));
    assert_eq!(log.text().matches("another server does not say").count(), 1);
    let answers = stand.peers.nodes().await;
    let told: Vec<_> = answers.iter().filter_map(|answer| Some((&*answer.at, answer.said.as_ref().err()?))).collect();
    assert_eq!(told[0].0, "nobody:443");
    assert_eq!(told[1..], [("10.0.0.3:443", &"no answer within 2s".into()), ("10.0.0.4:443", &"away".into())]);
}

#[tokio::test]
async fn an_answer_counts_for_a_second_whoever_asks() {
    let stand = stand(&[("kiam-server", &[2])], &[(2, "b", 0)]);
    let (one, other) = tokio::join!(stand.instances(), stand.instances());
    assert_eq!((one, stand.asked()), (other, 1));
    advance(FRESH).await;
    stand.instances().await;
    assert_eq!(stand.asked(), 2);
}

#[tokio::test]
async fn so_many_servers_are_asked_and_no_more() {
    let many: Vec<u8> = (1..=70).collect();
    let servers: Vec<_> = many.iter().map(|number| (*number, "", 0)).collect();
    let stand = stand(&[("kiam-server", &many)], &servers);
    stand.instances().await;
    assert_eq!((stand.asked(), stand.counted()), (PEERS_MAX, (64, 6)));
}

#[tokio::test]
async fn series_are_of_those_who_say_all_and_the_others_nodes_are_missing() {
    let stand = stand(&[("kiam-server", &[1, 2, 3, 4])], &[(1, "a", 0), (2, "b", 0), (3, "c", 0)]);
    let series: Vec<Series> = stand.peers.series(false).await.collect().await;
    let told: Vec<_> = series.iter().map(|series| (series.nodes, series.said.is_some())).collect();
    assert_eq!(told, [(1, true), (1, false)]);
}
