//! Who is connected to the metadata port, and how much of it each may take. `listener.rs` asks for a place for every
//! connection, `mod.rs` for a turn for every request.
//!
//! What must always hold: nobody waits for a place, and no pod keeps others out. When all places are taken, one that
//! is idle goes from the pod that has most to one that has less; where nobody has more, from those of its own that were
//! answered: a pod that connects anew for each request must not be kept out by what it has just closed.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kiam_common::rarely::Rarely;
use tokio::sync::Notify;

use super::census::Census;
use crate::error::Error;

/// How much is served at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections of all pods.
    pub connections: usize,
    /// Connections of one pod.
    pub connections_per_pod: usize,
    /// Requests of one pod.
    pub requests_per_pod: usize,
}

/// How often a pod that asks without session tokens is told of.
const TELL_OF_TOKENLESS_EVERY: Duration = Duration::from_hours(1);
/// As many pods are remembered, beside those that are connected, for the sake of what was told of them.
const REMEMBERED: usize = 4096;

/// Everybody who is connected, and some who were.
pub(crate) struct Peers {
    limits: Limits,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    taken: usize,
    by_ip: HashMap<IpAddr, Entry>,
}

struct Entry {
    peer: Arc<Peer>,
    /// The oldest first.
    seats: Vec<Arc<Seat>>,
}

/// One connection, as the others see it.
#[derive(Debug, Default)]
struct Seat {
    busy: AtomicBool,
    /// It has had an answer: the pod may be done with it.
    answered: AtomicBool,
    given_away: Notify,
}

/// One pod, as all of its connections know it.
#[derive(Debug)]
pub(crate) struct Peer {
    /// Its address.
    pub(crate) ip: IpAddr,
    /// For telling that it asks without session tokens.
    pub(crate) tokenless: Rarely,
    requests: AtomicUsize,
    requests_max: usize,
}

/// The place of one connection: free again when this is dropped.
pub(crate) struct Place {
    /// Whose it is.
    pub(crate) peer: Arc<Peer>,
    seat: Arc<Seat>,
    peers: Arc<Peers>,
}

/// One request that is being answered.
pub(crate) struct Turn<'p>(&'p AtomicUsize);

impl Peers {
    /// Nobody is connected yet.
    pub(crate) fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self { limits, table: Mutex::default() })
    }

    /// A place for one more connection of the pod with this address.
    pub(crate) fn admit(self: &Arc<Self>, ip: IpAddr) -> Result<Place, Error> {
        let mut table = self.table();
        let held = table.by_ip.get(&ip).map_or(0, |entry| entry.seats.len());
        if held >= self.limits.connections_per_pod {
            return Err(Error::TooManyConnections);
        }
        if table.taken >= self.limits.connections && !table.free_one_for(ip, held) {
            return Err(Error::Busy);
        }
        let (seat, entry) = (Arc::<Seat>::default(), table.entry(ip, self.limits.requests_per_pod));
        entry.seats.push(seat.clone());
        let peer = entry.peer.clone();
        table.taken += 1;
        Ok(Place { peer, seat, peers: self.clone() })
    }

    /// Counts everything.
    pub(crate) fn census(&self) -> Census {
        let mut census = Census::default();
        for entry in self.table().by_ip.values() {
            let active = entry.seats.iter().filter(|seat| seat.busy.load(Ordering::Relaxed)).count();
            census.active += active;
            census.idle += entry.seats.len() - active;
            census.requests += entry.peer.requests.load(Ordering::Relaxed);
        }
        census
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// What is known of a pod, which may be new.
    fn entry(&mut self, ip: IpAddr, requests_max: usize) -> &mut Entry {
        if self.by_ip.len() >= REMEMBERED && !self.by_ip.contains_key(&ip) {
            self.by_ip.retain(|_, entry| !entry.seats.is_empty());
        }
        let new = || Entry { peer: Arc::new(Peer::new(ip, requests_max)), seats: Vec::new() };
        self.by_ip.entry(ip).or_insert_with(new)
    }

    /// Takes a place from the pod that has most, for one at `ip` that has `held`. Only if it stays no worse off than that
    /// one, and only one that is idle: no request is cut off. If nobody can give one, from that one itself.
    fn free_one_for(&mut self, ip: IpAddr, held: usize) -> bool {
        let can_give = |entry: &&mut Entry| entry.seats.len() >= held + 2 && entry.idle().is_some();
        let most = self.by_ip.values_mut().filter(can_give).max_by_key(|entry| entry.seats.len());
        let given = most.and_then(|entry| entry.idle().map(|idle| entry.seats.remove(idle)));
        let given = given.or_else(|| {
            let own = self.by_ip.get_mut(&ip)?;
            own.answered().map(|answered| own.seats.remove(answered))
        });
        let Some(seat) = given else { return false };
        seat.given_away.notify_one();
        self.taken -= 1;
        true
    }
}

impl Entry {
    /// The oldest connection that answers no request.
    fn idle(&self) -> Option<usize> {
        self.seats.iter().position(|seat| seat.is_idle())
    }

    /// The oldest such connection that has had an answer.
    fn answered(&self) -> Option<usize> {
        self.seats.iter().position(|seat| seat.is_idle() && seat.answered.load(Ordering::Relaxed))
    }
}

impl Seat {
    fn is_idle(&self) -> bool {
        !self.busy.load(Ordering::Relaxed)
    }
}

impl Place {
    /// Says whether a request is being answered.
    pub(crate) fn set_busy(&self, busy: bool) {
        self.seat.busy.store(busy, Ordering::Relaxed);
        if !busy {
            self.seat.answered.store(true, Ordering::Relaxed);
        }
    }

    /// Waits until the place is given to another pod.
    pub(crate) async fn given_away(&self) {
        self.seat.given_away.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut table = self.peers.table();
        let Some(entry) = table.by_ip.get_mut(&self.peer.ip) else {
            return;
        };
        // Not there any more if it was given away.
        if let Some(own) = entry.seats.iter().position(|seat| Arc::ptr_eq(seat, &self.seat)) {
            entry.seats.remove(own);
            table.taken -= 1;
        }
    }
}

impl Peer {
    /// A pod that may have so many requests answered at a time.
    pub(crate) fn new(ip: IpAddr, requests_max: usize) -> Self {
        Self { ip, tokenless: Rarely::every(TELL_OF_TOKENLESS_EVERY), requests: AtomicUsize::new(0), requests_max }
    }

    /// A turn for one more request.
    pub(crate) fn begin(&self) -> Result<Turn<'_>, Error> {
        let turn = Turn(&self.requests);
        if self.requests.fetch_add(1, Ordering::Relaxed) < self.requests_max {
            Ok(turn)
        } else {
            Err(Error::TooManyRequests)
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn peers(connections: usize, connections_per_pod: usize) -> Arc<Peers> {
        Peers::new(Limits { connections, connections_per_pod, requests_per_pod: 2 })
    }

    fn ip(number: u32) -> IpAddr {
        IpAddr::V4(std::net::Ipv4Addr::from_bits(0x0a00_0000 + number))
    }

    /// As many places as the pod gets, at most `wanted`.
    fn take(peers: &Arc<Peers>, pod: u32, wanted: usize) -> Vec<Place> {
        (0..wanted).map_while(|_| peers.admit(ip(pod)).ok()).collect()
    }

    #[test]
    fn a_pod_has_its_own_limit_and_gets_places_back() {
        let peers = peers(1024, 3);
        let mut places = take(&peers, 1, 10);
        assert_eq!(places.len(), 3);
        assert_eq!(peers.admit(ip(1)).err(), Some(Error::TooManyConnections));
        assert!(peers.admit(ip(2)).is_ok(), "others are not touched");
        places.pop();
        assert!(peers.admit(ip(1)).is_ok());
    }

    #[test]
    fn when_all_places_are_taken_an_idle_one_goes_from_whoever_has_most_to_whoever_has_less() {
        let peers = peers(8, 8);
        let greedy = take(&peers, 1, 8);
        assert_eq!(greedy.len(), 8);
        greedy[0].set_busy(true);
        let newcomer = take(&peers, 2, 8);
        assert_eq!(newcomer.len(), 4, "until both have the same");
        let given_away = |place: &Place| place.given_away().now_or_never().is_some();
        assert_eq!(
            greedy.iter().map(given_away).collect::<Vec<_>>(),
            [false, true, true, true, true, false, false, false]
        );
        assert_eq!(peers.admit(ip(1)).err(), Some(Error::Busy));
        drop(greedy);
        assert_eq!(peers.table().taken, 4, "what was given away is not given back twice");
    }

    #[test]
    fn no_request_is_cut_off_for_a_newcomer() {
        let peers = peers(4, 4);
        let greedy = take(&peers, 1, 4);
        for place in &greedy {
            place.set_busy(true);
        }
        assert_eq!(peers.admit(ip(2)).err(), Some(Error::Busy));
        greedy[3].set_busy(false);
        assert!(peers.admit(ip(2)).is_ok());
    }

    #[test]
    fn where_no_other_pod_has_more_one_of_its_own_that_was_answered_makes_room() {
        let peers = peers(4, 4);
        let (other, own) = (take(&peers, 1, 2), take(&peers, 2, 2));
        assert_eq!(peers.admit(ip(2)).err(), Some(Error::Busy), "their requests may be on their way");
        own[1].set_busy(true);
        assert_eq!(peers.admit(ip(2)).err(), Some(Error::Busy));
        own[1].set_busy(false);
        assert!(peers.admit(ip(2)).is_ok());
        let given_away = |place: &Place| place.given_away().now_or_never().is_some();
        assert_eq!([&other[0], &other[1], &own[0], &own[1]].map(given_away), [false, false, false, true]);
    }

    #[test]
    fn where_the_pod_that_has_most_is_busy_the_next_one_gives() {
        let peers = peers(5, 5);
        let (most, next) = (take(&peers, 1, 3), take(&peers, 2, 2));
        for place in &most {
            place.set_busy(true);
        }
        assert!(peers.admit(ip(3)).is_ok());
        assert!(next[0].given_away().now_or_never().is_some());
    }

    #[test]
    fn whatever_a_hundred_pods_take_there_is_a_place_for_another() {
        let peers = peers(1024, 128);
        let mut places: Vec<_> = (0..100).map(|pod| take(&peers, pod, 128)).collect();
        assert!(places.iter().all(|places| !places.is_empty()));
        let mut random = fastrand::Rng::with_seed(1);
        for round in 0..10_000 {
            let pod = random.u32(0..100);
            let held = &mut places[pod as usize];
            held.truncate(held.len() / 2);
            held.extend(take(&peers, pod, 128));
            assert!(peers.admit(ip(1000)).is_ok(), "round {round}");
            assert!(peers.table().taken <= 1024);
        }
    }

    #[test]
    fn with_more_pods_than_places_the_last_are_told_that_all_are_taken() {
        let peers = peers(4, 4);
        let _places: Vec<_> = (0..4).map(|pod| peers.admit(ip(pod)).ok().unwrap()).collect();
        assert_eq!(peers.admit(ip(9)).err(), Some(Error::Busy));
        assert_eq!(peers.admit(ip(1)).err(), Some(Error::Busy));
    }

    #[test]
    fn only_so_many_pods_are_remembered() {
        let peers = peers(10, 10);
        let _connected = peers.admit(ip(0)).ok().unwrap();
        for pod in 1..100_000 {
            drop(peers.admit(ip(pod)));
        }
        let table = peers.table();
        assert!(table.by_ip.len() <= REMEMBERED && table.by_ip.contains_key(&ip(0)));
        assert_eq!(table.taken, 1);
    }

    #[test]
    fn a_pods_requests_are_limited_over_all_of_its_connections() {
        let peers = peers(10, 10);
        let (one, other) = (peers.admit(ip(1)).ok().unwrap(), peers.admit(ip(1)).ok().unwrap());
        let first = one.peer.begin().ok().unwrap();
        let _second = other.peer.begin().ok().unwrap();
        assert_eq!(one.peer.begin().err(), Some(Error::TooManyRequests));
        drop(first);
        assert!(other.peer.begin().is_ok());
    }

    #[test]
    fn the_census_tells_connections_that_wait_from_those_that_are_answered() {
        let peers = peers(10, 10);
        let mut places = take(&peers, 1, 3);
        places.extend(take(&peers, 2, 1));
        places[0].set_busy(true);
        let turn = places[0].peer.begin().ok().unwrap();
        assert_eq!(peers.census(), Census { active: 1, idle: 3, requests: 1 });
        drop(turn);
        places[0].set_busy(false);
        assert_eq!(peers.census(), Census { active: 0, idle: 4, requests: 0 });
        drop(places);
        assert_eq!(peers.census(), Census::default());
    }
}
