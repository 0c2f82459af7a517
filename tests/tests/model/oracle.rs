//! The oracle: judges an answer by what has happened, and by nothing else.
//!
//! # What must never happen
//!
//! After every step, whoever is at an address asks the ledger of its node for every role. Each answer with credentials
//! must be justified by all of these:
//!
//! 1. The credentials are of the role that was asked for, and STS gave them for longer than until now. (An agent counts
//!    their life from when they arrive, so a message that was under way for a second may make it a second more.)
//! 2. The agent *was told* that a pod at this address may have this role: the server of its stream had heard of such a
//!    pod on this node, of no other pod with the address, and of a namespace that permits the role. It may have heard
//!    of it late, and what it has heard since may be under way; but whatever has arrived whole at the agent counts, at
//!    once, and nothing before it. After a stream is lost, its last word stands until the next stream's snapshot is
//!    whole.
//! 3. The pod that asks *is* that pod, if the agent has met either of them within ten minutes. It meets a pod when it
//!    is told of it while the kernel shows that pod at the address. Where it has met neither, as it was told of one pod
//!    late and not yet of the other, it believes the word alone; and so it does where it has met only the one that asks
//!    and another server has spoken of the other for thirty seconds.
//! 4. Where the kernel does not show who is at an address, 3 cannot hold. Then the word counts while the stream lasts,
//!    and ten seconds longer.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::cluster::Word;
use crate::history::ROLES;
use crate::sts::Given;

/// For how long a binding counts that nothing pins, without a stream.
pub(crate) const MAX_STALE: Duration = Duration::from_secs(10);
/// For how long an agent remembers whom it has met.
const REMEMBERED: Duration = Duration::from_mins(10);
/// For how long an agent that has met a pod doubts the first word of another at its address.
const DOUBTED: Duration = Duration::from_secs(30);

/// What follows for the addresses of a node from what a server had heard at one moment.
pub(crate) type Words = BTreeMap<IpAddr, Word>;

/// What an agent may know.
#[derive(Debug, Default)]
pub(crate) struct Knowledge {
    /// All of it has arrived.
    arrived: Arc<Words>,
    /// Of each of these a part has. More than one only where a message was lost: what had arrived before it counts on.
    arriving: Vec<Arc<Words>>,
    /// Since when there is no stream; none if there is one or never was.
    lost: Option<Instant>,
    /// The pods that the agent has met, and since when it is no longer told of them.
    met: BTreeMap<(IpAddr, String), Option<Instant>>,
    /// Since when it has been told of whom it is told of.
    told_since: BTreeMap<(IpAddr, String), Instant>,
    /// The longest that a message was under way.
    delay: Duration,
}

/// A pod's answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case<'c> {
    pub(crate) ip: IpAddr,
    /// Who asks: the pod that is at the address.
    pub(crate) uid: &'c str,
    /// What for.
    pub(crate) role: usize,
    /// What it got.
    pub(crate) given: Given,
    /// The agent can see where addresses lead.
    pub(crate) is_visible: bool,
}

impl Knowledge {
    /// A message has arrived that was said of these words, the last one or not.
    pub(crate) fn heard(&mut self, words: &Arc<Words>, is_last: bool, sent: Instant) {
        self.delay = self.delay.max(sent.elapsed());
        if is_last {
            self.is_told(words);
        } else {
            self.arriving.push(Arc::clone(words));
        }
    }

    /// There is nothing to say that the agent does not know.
    pub(crate) fn is_told(&mut self, words: &Arc<Words>) {
        let told = words.iter().filter_map(|(ip, word)| Some((*ip, word.uid.clone()?)));
        let since = |told: &(IpAddr, String)| self.told_since.get(told).copied().unwrap_or_else(Instant::now);
        self.told_since = told.map(|told| (told.clone(), since(&told))).collect();
        self.arrived = Arc::clone(words);
        self.arriving.clear();
        self.lost = None;
    }

    /// The stream has ended.
    pub(crate) fn lost(&mut self) {
        self.lost.get_or_insert_with(Instant::now);
    }

    /// The network is as it is now: `at` says who is at an address. The agent meets those of whom it is told.
    pub(crate) fn meet<'s>(&mut self, at: impl Fn(IpAddr) -> Option<&'s str>) {
        let now = Instant::now();
        let told = |ip: &IpAddr| self.arrived.get(ip).and_then(|word| word.uid.as_deref());
        self.met.retain(|(ip, uid), left| {
            if told(ip) != Some(uid) {
                left.get_or_insert(now);
            }
            let forgotten = left.is_some_and(|since| now.duration_since(since) >= REMEMBERED);
            if told(ip) == Some(uid) {
                *left = None;
            }
            !forgotten
        });
        if self.lost.is_some() {
            return;
        }
        for (ip, word) in &*self.arrived {
            if let Some(uid) = word.uid.as_deref().filter(|uid| at(*ip) == Some(uid)) {
                self.met.insert((*ip, uid.to_owned()), None);
            }
        }
    }

    /// Whether credentials that a pod got are justified; why not, if not.
    pub(crate) fn judge(&self, case: Case<'_>) -> Result<(), String> {
        let Case { ip, uid, role, given, is_visible } = case;
        if given.role != role {
            return Err(format!("it asked for {} and got {}", ROLES[role], ROLES[given.role]));
        }
        if given.ends + self.delay <= Instant::now() {
            return Err("the credentials have ended".into());
        }
        let words = std::iter::once(&self.arrived).chain(&self.arriving);
        let entitled: Vec<&str> = words
            .filter_map(|words| words.get(&ip))
            .filter(|word| word.outcome == Ok(role))
            .filter_map(|word| word.uid.as_deref())
            .collect();
        if entitled.is_empty() {
            return Err("nothing that the agent was told entitles any pod at this address to that".into());
        }
        if !is_visible {
            let is_stale = self.lost.is_some_and(|lost| lost.elapsed() >= MAX_STALE);
            return if is_stale { Err("nothing pins this, and it is stale".into()) } else { Ok(()) };
        }
        let has_met = |uid: &str| self.met.contains_key(&(ip, uid.to_owned()));
        let is_doubted = |entitled: &str| {
            let since = self.told_since.get(&(ip, entitled.to_owned()));
            has_met(uid) && since.is_none_or(|since| since.elapsed() < DOUBTED)
        };
        if entitled.iter().any(|entitled| *entitled == uid || !has_met(entitled) && !is_doubted(entitled)) {
            return Ok(());
        }
        Err(format!("it was meant for {}", entitled.join(" or ")))
    }
}
