//! Whose turn it is. Knows no task and no cluster: it is told of the agents and of what came of each turn.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;

use super::Agent;

/// The most nodes in a round.
pub(super) const AT_ONCE: usize = 8;
/// The pause after a node's first failure; each further one doubles it.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// What came of the turns so far, by stream. A stream without an entry has had none.
#[derive(Debug, Default)]
pub(super) struct Rounds(HashMap<u64, Standing>);

#[derive(Clone, Copy, Debug)]
enum Standing {
    /// Its node has no such taint any more.
    Settled,
    Failed {
        /// How often in a row.
        times: u32,
        /// Its next turn.
        again: Instant,
    },
}

impl Rounds {
    /// The next round of these, who are all that there are: streams that are gone are forgotten. Who has had no turn goes
    /// before those that failed.
    pub(super) fn next(&mut self, agents: Vec<Agent>, now: Instant) -> Vec<Agent> {
        let alive: HashSet<u64> = agents.iter().map(|agent| agent.stream).collect();
        self.0.retain(|stream, _| alive.contains(stream));
        let at_work = agents.into_iter().filter(|agent| agent.is_at_work);
        let due = at_work.filter_map(|agent| match self.0.get(&agent.stream) {
            None => Some((None, agent)),
            Some(Standing::Failed { again, .. }) if *again <= now => Some((Some(*again), agent)),
            Some(Standing::Failed { .. } | Standing::Settled) => None,
        });
        let mut due: Vec<_> = due.collect();
        due.sort_by_key(|(turn, agent)| (*turn, agent.stream));
        due.into_iter().map(|(_, agent)| agent).take(AT_ONCE).collect()
    }

    /// Nothing is to be done any more, for as long as the stream lives.
    pub(super) fn settled(&mut self, stream: u64) {
        self.0.insert(stream, Standing::Settled);
    }

    /// It is to be tried again. Returns the pause until then.
    pub(super) fn failed(&mut self, stream: u64, now: Instant) -> Duration {
        let before = match self.0.get(&stream) {
            Some(Standing::Failed { times, .. }) => *times,
            Some(Standing::Settled) | None => 0,
        };
        let pause = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(before)).min(LONGEST_PAUSE);
        self.0.insert(stream, Standing::Failed { times: before.saturating_add(1), again: now + pause });
        pause
    }
}
