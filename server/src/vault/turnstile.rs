//! Lets calls to STS through: so many at once, so many a second, the first in line first. Pure; [`super::gate`] has
//! those who wait.

use std::time::Duration;

use jiff::Timestamp;

use super::bucket::Bucket;
use super::line::{Line, Ticket};
use super::rank::Rank;

/// What STS is asked to bear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `--fetchers`: calls at once, and one more for a pod that waits; at least 1.
    pub at_once: usize,
    /// `--sts-rate`: calls a second; at least 1.
    pub per_second: u32,
}

/// The turnstile.
#[derive(Debug)]
pub(super) struct Turnstile {
    pub(super) line: Line,
    bucket: Bucket,
    at_once: usize,
    under_way: usize,
}

/// Who may go now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// This one, who then is under way.
    Go(Ticket),
    /// Nobody before this has passed: the rate is used up.
    After(Duration),
    /// Nobody before somebody joins or leaves.
    Nobody,
}

impl Turnstile {
    pub(super) fn new(limits: Limits, now: Timestamp) -> Self {
        Self {
            line: Line::default(),
            bucket: Bucket::new(limits.per_second, now),
            at_once: limits.at_once,
            under_way: 0,
        }
    }

    /// Whose turn it is.
    pub(super) fn turn(&mut self, now: Timestamp) -> Turn {
        let Some(rank) = self.line.first() else { return Turn::Nobody };
        if self.under_way >= self.places(rank) {
            return Turn::Nobody;
        }
        if let Err(wait) = self.bucket.take(now) {
            return Turn::After(wait);
        }
        match self.line.pop() {
            Some(ticket) => {
                self.under_way += 1;
                Turn::Go(ticket)
            }
            None => Turn::Nobody,
        }
    }

    /// One that was under way is back.
    pub(super) fn leave(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
    }

    /// There is one more place for pods that wait: calls that hang must not take all.
    fn places(&self, rank: Rank) -> usize {
        match rank {
            Rank::Waiting | Rank::Expiring => self.at_once.saturating_add(1),
            Rank::Prefetch | Rank::Refresh => self.at_once,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn turnstile(at_once: usize, per_second: u32) -> Turnstile {
        Turnstile::new(Limits { at_once, per_second }, NOW)
    }

    #[test]
    fn no_more_go_than_may_be_under_way() {
        let mut turnstile = turnstile(2, 100);
        for ticket in 1..=3 {
            turnstile.line.join(Ticket(ticket), Rank::Prefetch, NOW);
        }
        assert_eq!(turnstile.turn(NOW), Turn::Go(Ticket(1)));
        assert_eq!(turnstile.turn(NOW), Turn::Go(Ticket(2)));
        assert_eq!(turnstile.turn(NOW), Turn::Nobody);
        turnstile.leave();
        assert_eq!(turnstile.turn(NOW), Turn::Go(Ticket(3)));
    }

    #[test]
    fn one_more_may_go_for_a_pod_that_waits() {
        let mut turnstile = turnstile(1, 100);
        for (ticket, rank) in [(1, Rank::Refresh), (2, Rank::Prefetch)] {
            turnstile.line.join(Ticket(ticket), rank, NOW);
        }
        assert_eq!(turnstile.turn(NOW), Turn::Go(Ticket(2)));
        assert_eq!(turnstile.turn(NOW), Turn::Nobody);
        for ticket in [3, 4] {
            turnstile.line.join(Ticket(ticket), Rank::Waiting, NOW);
        }
        assert_eq!(turnstile.turn(NOW), Turn::Go(Ticket(3)));
        assert_eq!(turnstile.turn(NOW), Turn::Nobody);
    }

    #[test]
    fn a_used_up_rate_says_when_to_look_again() {
        let mut turnstile = turnstile(9, 2);
        for ticket in 1..=3 {
            turnstile.line.join(Ticket(ticket), Rank::Waiting, NOW);
        }
        assert_eq!(turnstile.turn(NOW), Turn::Go(Ticket(1)));
        assert_eq!(turnstile.turn(NOW), Turn::Go(Ticket(2)));
        let Turn::After(wait) = turnstile.turn(NOW) else { panic!("the third must wait") };
        assert_eq!(turnstile.turn(NOW + wait), Turn::Go(Ticket(3)));
        assert_eq!(turnstile.turn(NOW + wait), Turn::Nobody);
    }
}
