//! A hundred thousand random histories of an entry, each step checked against a model that knows no state, only what
//! has happened: it answers every question by reading the record. A history is named by its seed.

use fastrand::Rng;

use super::tests::{credentials, error};
use super::*;
use crate::vault::schedule;

const HISTORIES: u64 = 100_000;
const STEPS: usize = 24;
const SESSION_REFRESH: Duration = Duration::from_mins(30);

/// What has happened.
#[derive(Clone, Debug)]
enum Event {
    Began,
    SomebodyWaits,
    Granted { number: usize, ends: Timestamp, renew_at: Timestamp },
    Failed { number: usize, refusal: bool, until: Timestamp },
    Abandoned,
    Forgotten,
}

#[derive(Debug, Default)]
struct Record(Vec<Event>);

impl Record {
    fn last<T>(&self, pick: impl Fn(&Event) -> Option<T>) -> Option<T> {
        self.0.iter().rev().find_map(pick)
    }

    fn is_calling(&self) -> bool {
        self.last(|event| match event {
            Event::Began => Some(true),
            Event::Granted { .. } | Event::Failed { .. } | Event::Abandoned => Some(false),
            Event::SomebodyWaits | Event::Forgotten => None,
        })
        .unwrap_or(false)
    }

    fn is_awaited(&self) -> bool {
        self.is_calling()
            && self.last(|event| match event {
                Event::SomebodyWaits => Some(true),
                Event::Began => Some(false),
                _ => None,
            }) == Some(true)
    }

    /// Number and times of the credentials that live.
    fn live(&self, now: Timestamp) -> Option<(usize, Timestamp, Timestamp)> {
        self.last(|event| match event {
            Event::Granted { number, ends, renew_at } => Some((*number, *ends, *renew_at)),
            _ => None,
        })
        .filter(|(_, ends, _)| *ends > now)
    }

    /// Number, kind and end of the failure that nothing has made up for.
    fn failure(&self) -> Option<(usize, bool, Timestamp)> {
        self.last(|event| match event {
            Event::Failed { number, refusal, until } => Some(Some((*number, *refusal, *until))),
            Event::Granted { .. } | Event::Forgotten => Some(None),
            _ => None,
        })
        .flatten()
    }

    fn is_pausing(&self, now: Timestamp) -> bool {
        self.failure().is_some_and(|(_, _, until)| until > now)
    }

    fn is_due(&self, now: Timestamp) -> bool {
        let wanting = self.live(now).is_none_or(|(_, _, renew_at)| now >= renew_at);
        wanting && !self.is_calling() && !self.is_pausing(now)
    }

    fn stage(&self, now: Timestamp) -> Stage {
        let was_granted = self.0.iter().any(|event| matches!(event, Event::Granted { .. }));
        match (self.live(now), self.is_calling(), self.failure()) {
            (Some(_), true, _) => Stage::Refreshing,
            (Some((_, _, renew_at)), false, Some(_)) if now >= renew_at => Stage::Stale,
            (Some(_), false, _) => Stage::Fresh,
            (None, true, _) => Stage::Fetching,
            (None, false, Some((_, true, _))) => Stage::Refused,
            (None, false, _) if was_granted => Stage::Expired,
            (None, false, _) => Stage::Failed,
        }
    }
}

struct History {
    rng: Rng,
    now: Timestamp,
    entry: Entry,
    record: Record,
}

impl History {
    fn new(seed: u64) -> Self {
        Self {
            rng: Rng::with_seed(seed),
            now: Timestamp::UNIX_EPOCH,
            entry: Entry::default(),
            record: Record::default(),
        }
    }

    fn step(&mut self, number: usize) {
        match self.rng.u8(..10) {
            0..3 => self.wait_a_while(),
            3..6 => self.somebody_asks(),
            6 => self.upkeep(),
            7 | 8 => self.land(number),
            _ => {
                self.entry.forget_failure();
                self.record.0.push(Event::Forgotten);
            }
        }
    }

    fn wait_a_while(&mut self) {
        let longest = *self.rng.choice(&[1, 30, 600, 4000]).unwrap();
        self.now += Duration::from_millis(self.rng.u64(..longest * 1000));
    }

    fn begin(&mut self) {
        self.entry.begin();
        self.record.0.push(Event::Began);
    }

    /// As [`super::super::place::Place::look`] does.
    fn somebody_asks(&mut self) {
        if let Answer::Await = self.entry.answer(self.now) {
            if self.entry.is_due(self.now) {
                self.begin();
            }
            self.entry.wait();
            self.record.0.push(Event::SomebodyWaits);
        }
    }

    fn upkeep(&mut self) {
        if self.entry.is_due(self.now) && self.entry.is_worth_asking(self.now) {
            self.begin();
        }
    }

    fn land(&mut self, number: usize) {
        if !self.record.is_calling() {
            return;
        }
        match self.rng.u8(..6) {
            0..3 => self.grant(number),
            3 | 4 => self.fail(number),
            _ => {
                self.entry.abandoned();
                self.record.0.push(Event::Abandoned);
            }
        }
    }

    fn grant(&mut self, number: usize) {
        let life = *self.rng.choice(&[1, 10, 900, 3600, 43_200]).unwrap();
        let ends = self.now + Duration::from_secs(life);
        let renew_at = schedule::renew_at(SESSION_REFRESH, self.now, ends, self.rng.f64());
        self.entry.granted(credentials(number), ends, renew_at);
        self.record.0.push(Event::Granted { number, ends, renew_at });
    }

    fn fail(&mut self, number: usize) {
        let kind = *self.rng.choice(&StsErrorKind::ALL).unwrap();
        let (now, fraction) = (self.now, self.rng.f64());
        let mut ends_pause = now;
        self.entry.failed(error(kind, number), now, |times, left| {
            ends_pause = now + schedule::pause(kind, times, left, fraction);
            ends_pause
        });
        self.record.0.push(Event::Failed { number, refusal: kind.is_refusal(), until: ends_pause });
    }

    fn check(&self) {
        let (entry, record, now) = (&self.entry, &self.record, self.now);
        match entry.answer(now) {
            Answer::Held(held) => {
                assert_eq!(
                    Some(held.credentials.access_key_id.clone()),
                    record.live(now).map(|live| live.0.to_string())
                );
            }
            Answer::Failed(error) => {
                assert!(record.live(now).is_none() && record.is_pausing(now) && !record.is_calling());
                assert_eq!(Some(error.message.clone()), record.failure().map(|failure| failure.0.to_string()));
            }
            Answer::Await => {
                assert!(record.live(now).is_none());
                assert!(record.is_calling() || !record.is_pausing(now));
            }
        }
        assert_eq!(entry.is_due(now), record.is_due(now));
        assert_eq!(entry.stage(now), record.stage(now));
        assert_eq!(entry.is_awaited(), record.is_awaited());
        assert_eq!(entry.rank(now).is_some(), record.is_calling());
        assert_eq!(entry.rank(now) == Some(Rank::Waiting), record.is_awaited());
        let left = record.live(now).map(|(_, ends, _)| Duration::try_from(ends.duration_since(now)).unwrap());
        assert_eq!(entry.life_left(now), left);
        // Nobody is ever stuck: what is not held is under way, pausing for a minute at most, or due.
        let stuck = left.is_none() && !record.is_calling() && !entry.is_due(now + Duration::from_mins(1));
        assert!(!stuck, "nothing held, and nothing will happen");
    }
}

#[test]
fn every_history_is_as_the_model_says() {
    for seed in 0..HISTORIES {
        let mut history = History::new(seed);
        for number in 0..STEPS {
            history.step(number);
            let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| history.check()));
            assert!(checked.is_ok(), "seed {seed}, after {:#?}", history.record.0);
        }
    }
}
