//! The other servers of the fleet, every address of `--peers`: asked, as a server, which nodes they supply and what their
//! agents' series are. Used for `/sd` and `/metrics?scope=fleet`, and for operators who ask for the whole fleet.
//!
//! What must always hold: a server is asked for its own alone, so that a question never goes round; once a second at most,
//! whoever asks; who does not answer in time is left out, and counted; what they say takes a bounded amount of memory.

mod ask;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::{Stream, StreamExt as _, stream};
use kiam_common::args::HostPort;
use kiam_common::rarely::Rarely;
use kiam_proto::encoding::node as wire;
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use crate::metrics::PeerMetrics;
pub use ask::{Ask, OverGrpc};

/// How long an answer counts.
const FRESH: Duration = Duration::from_secs(1);
/// How long looking the names up may take.
const LOOK_UP_WITHIN: Duration = Duration::from_secs(1);
/// How long an answer about nodes may take.
const NODES_WITHIN: Duration = Duration::from_secs(2);
/// How long an answer about series may take: longer than a server gives its agents. Prometheus waits ten seconds for all.
const SERIES_WITHIN: Duration = Duration::from_secs(6);
/// The most servers that are asked, and how many of them at a time for series, which are larger.
const PEERS_MAX: usize = 64;
const SERIES_AT_ONCE: usize = 2;
/// How often it is logged that some do not answer.
const COMPLAIN_EVERY: Duration = Duration::from_mins(1);

/// The other servers.
#[derive(Debug)]
pub struct Peers {
    names: Vec<HostPort>,
    ask: Arc<dyn Ask>,
    /// What this server calls itself.
    instance: String,
    metrics: PeerMetrics,
    /// Where connections are: the program's own runtime, whoever asks.
    program: Handle,
    last: Mutex<Option<(Instant, Arc<[Answer]>)>>,
    complaint: Rarely,
}

/// What came of asking one of them for its nodes.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// Where it was asked: an address, or a name that has none.
    pub(crate) at: String,
    /// Who answered and what, or why nobody did, in one line.
    pub(crate) said: Result<(Peer, wire::ListNodesResponse), String>,
}

/// An address, and the host that its certificate must be for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Peer {
    /// The address.
    pub address: SocketAddr,
    /// A name or an address.
    pub host: String,
}

/// What came of asking one of them for its agents' series.
pub(crate) struct Series {
    /// How many nodes it supplies.
    pub(crate) nodes: usize,
    /// All that it said; nothing if it did not say all.
    pub(crate) said: Option<Vec<wire::CollectedMetrics>>,
}

impl Peers {
    /// Those at `names`, among which this server, called `instance`, may be itself. To be called in the program's own
    /// runtime.
    pub fn new(names: Vec<HostPort>, ask: Arc<dyn Ask>, instance: String, metrics: PeerMetrics) -> Self {
        let (program, complaint) = (Handle::current(), Rarely::every(COMPLAIN_EVERY));
        Self { names, ask, instance, metrics, program, last: Mutex::default(), complaint }
    }

    /// What every other server says of itself and its nodes; each once, however many addresses it has.
    pub(crate) async fn nodes(&self) -> Arc<[Answer]> {
        let mut last = self.last.lock().await;
        if let Some((_, answers)) = last.as_ref().filter(|(since, _)| since.elapsed() < FRESH) {
            return Arc::clone(answers);
        }
        let mut answers = self.ask_all().await;
        let mut known = BTreeSet::from([self.instance.clone()]);
        answers.retain(|answer| match &answer.said {
            // Older versions do not say which they are.
            Ok((_, said)) => said.instance.is_empty() || known.insert(said.instance.clone()),
            Err(_) => true,
        });
        self.report(&answers);
        let answers: Arc<[Answer]> = answers.into();
        *last = Some((Instant::now(), Arc::clone(&answers)));
        answers
    }

    /// The series of the agents of every other server that says which nodes it supplies, as they come.
    pub(crate) async fn series(&self, per_node: bool) -> impl Stream<Item = Series> {
        let answers = self.nodes().await;
        let said = answers.iter().filter_map(|answer| answer.said.as_ref().ok());
        let peers: Vec<(Peer, usize)> = said.map(|(peer, said)| (peer.clone(), said.nodes.len())).collect();
        let (ask, program) = (Arc::clone(&self.ask), self.program.clone());
        let one = move |(peer, nodes): (Peer, usize)| {
            let ask = Arc::clone(&ask);
            let asked = program.spawn(async move { timeout(SERIES_WITHIN, ask.series(&peer, per_node)).await });
            async move {
                let said = asked.await.ok().and_then(Result::ok).and_then(Result::ok);
                Series { nodes, said }
            }
        };
        stream::iter(peers).map(one).buffer_unordered(SERIES_AT_ONCE)
    }

    async fn ask_all(&self) -> Vec<Answer> {
        let (peers, mut answers) = self.look_up().await;
        let asked = peers.into_iter().map(|peer| {
            let ask = Arc::clone(&self.ask);
            self.program.spawn(async move {
                let said = timeout(NODES_WITHIN, ask.nodes(&peer)).await;
                let said = said.unwrap_or_else(|_| Err(format!("no answer within {NODES_WITHIN:?}")));
                Answer { at: peer.address.to_string(), said: said.map(|said| (peer, said)) }
            })
        });
        answers.extend(join_all(asked).await.into_iter().filter_map(Result::ok));
        answers
    }

    /// Whom to ask, and an answer in the place of each whom there is no asking.
    async fn look_up(&self) -> (Vec<Peer>, Vec<Answer>) {
        let look_up = |name| timeout(LOOK_UP_WITHIN, self.ask.look_up(name));
        let looked_up = join_all(self.names.iter().map(look_up)).await;
        let (mut peers, mut unasked) = (BTreeSet::new(), Vec::new());
        for (name, addresses) in self.names.iter().zip(looked_up) {
            let why = match addresses {
                Ok(Ok(addresses)) => {
                    peers.extend(addresses.into_iter().map(|address| Peer { address, host: name.host.clone() }));
                    continue;
                }
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("no address within {LOOK_UP_WITHIN:?}"),
            };
            unasked.push(Answer { at: name.to_string(), said: Err(why) });
        }
        let mut peers: Vec<Peer> = peers.into_iter().collect();
        for beyond in peers.drain(PEERS_MAX.min(peers.len())..) {
            let why = format!("expected at most {PEERS_MAX} servers");
            unasked.push(Answer { at: beyond.address.to_string(), said: Err(why) });
        }
        (peers, unasked)
    }

    fn report(&self, answers: &[Answer]) {
        let mut failed = answers.iter().filter_map(|answer| Some((&answer.at, answer.said.as_ref().err()?)));
        let missing = failed.clone().count();
        self.metrics.asked(answers.len() - missing, missing);
        if let Some((at, why)) = failed.next()
            && self.complaint.is_due()
        {
            tracing::warn!(at, missing, "another server does not say which nodes it supplies: {why}");
        }
    }
}
