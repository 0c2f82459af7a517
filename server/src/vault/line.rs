//! The line of calls that wait for their turn: by rank, then by arrival. Pure.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use jiff::Timestamp;

use super::rank::Rank;

/// Names a call in the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Ticket(pub(super) u64);

/// Who waits.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// When each got its rank; arrivals are numbered by ticket.
    order: BTreeMap<(Rank, Ticket), Timestamp>,
    ranks: HashMap<Ticket, Rank>,
}

impl Line {
    /// Joins the line, or leaves a later place in it for a better one.
    pub(super) fn join(&mut self, ticket: Ticket, rank: Rank, now: Timestamp) {
        if let Some(held) = self.ranks.insert(ticket, rank) {
            self.order.remove(&(held, ticket));
        }
        self.order.insert((rank, ticket), now);
    }

    /// Moves a call forward. Nothing happens to one that is not in the line, or is as far ahead already.
    pub(super) fn raise(&mut self, ticket: Ticket, rank: Rank, now: Timestamp) {
        if self.ranks.get(&ticket).is_some_and(|held| *held > rank) {
            self.join(ticket, rank, now);
        }
    }

    /// The rank of the first.
    pub(super) fn first(&self) -> Option<Rank> {
        Some(self.order.first_key_value()?.0.0)
    }

    /// The first, who leaves the line.
    pub(super) fn pop(&mut self) -> Option<Ticket> {
        let ((_, ticket), _) = self.order.pop_first()?;
        self.ranks.remove(&ticket);
        Some(ticket)
    }

    /// How many have a rank.
    pub(super) fn depth(&self, rank: Rank) -> usize {
        self.of(rank).count()
    }

    /// How long the oldest of a rank has had it.
    pub(super) fn oldest(&self, rank: Rank, now: Timestamp) -> Option<Duration> {
        let since = self.of(rank).min()?;
        Some(Duration::try_from(now.duration_since(since)).unwrap_or_default())
    }

    fn of(&self, rank: Rank) -> impl Iterator<Item = Timestamp> {
        self.order.range((rank, Ticket(0))..=(rank, Ticket(u64::MAX))).map(|(_, since)| *since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn popped(line: &mut Line) -> Vec<u64> {
        std::iter::from_fn(|| line.pop()).map(|ticket| ticket.0).collect()
    }

    #[test]
    fn those_who_wait_go_first_and_renewals_that_can_wait_go_last() {
        let mut line = Line::default();
        for (ticket, rank) in [
            (1, Rank::Refresh),
            (2, Rank::Prefetch),
            (3, Rank::Expiring),
            (4, Rank::Waiting),
            (5, Rank::Waiting),
            (6, Rank::Prefetch),
        ] {
            line.join(Ticket(ticket), rank, NOW);
        }
        assert_eq!(line.first(), Some(Rank::Waiting));
        assert_eq!(Rank::ALL.map(|rank| line.depth(rank)), [2, 1, 2, 1]);
        assert_eq!(popped(&mut line), [4, 5, 3, 2, 6, 1]);
        assert_eq!(line.first(), None);
    }

    #[test]
    fn a_pod_that_asks_moves_its_fetch_forward_and_nothing_moves_it_back() {
        let mut line = Line::default();
        line.join(Ticket(1), Rank::Prefetch, NOW);
        line.join(Ticket(2), Rank::Prefetch, NOW);
        line.raise(Ticket(2), Rank::Waiting, NOW);
        line.raise(Ticket(2), Rank::Refresh, NOW);
        line.raise(Ticket(3), Rank::Waiting, NOW);
        assert_eq!(Rank::ALL.map(|rank| line.depth(rank)), [1, 0, 1, 0]);
        assert_eq!(popped(&mut line), [2, 1]);
    }

    #[test]
    fn the_oldest_is_counted_from_when_somebody_began_to_wait() {
        let mut line = Line::default();
        assert_eq!(line.oldest(Rank::Waiting, NOW), None);
        line.join(Ticket(1), Rank::Prefetch, NOW);
        line.join(Ticket(2), Rank::Waiting, NOW + Duration::from_secs(5));
        line.raise(Ticket(1), Rank::Waiting, NOW + Duration::from_secs(8));
        assert_eq!(line.oldest(Rank::Waiting, NOW + Duration::from_secs(10)), Some(Duration::from_secs(5)));
    }
}
