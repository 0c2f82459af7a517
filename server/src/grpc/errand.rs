//! What an agent is asked for on its stream and answers in pieces: its series. [`super::fleet`] asks, the stream's session
//! sends the question and brings the pieces.

use std::sync::{Mutex, MutexGuard, PoisonError};

use kiam_proto::encoding::node::{Family, Metrics};
use prost::Message as _;
use tokio::sync::{oneshot, watch};

/// The most that one agent may say, in bytes; they say about 60 KiB.
const LARGEST: usize = 512 * 1024;

/// One agent's errand. There is one at a time: a new one takes the place of the last.
#[derive(Debug, Default)]
pub(super) struct Errand {
    /// The number of the last question, 0 before the first.
    asked: watch::Sender<u64>,
    answer: Mutex<Option<Answer>>,
}

/// What the agent has said so far.
#[derive(Debug)]
struct Answer {
    id: u64,
    families: Vec<Family>,
    bytes: usize,
    whole: oneshot::Sender<Vec<Family>>,
}

impl Errand {
    /// Asks, and waits for the whole answer; none if it is too long, or another question comes. Whoever gives up waiting
    /// takes with it what was said so far.
    pub(super) async fn run(&self) -> Option<Vec<Family>> {
        let (whole, answered) = oneshot::channel();
        let id = *self.asked.borrow() + 1;
        *self.answer() = Some(Answer { id, families: Vec::new(), bytes: 0, whole });
        let _forget = Forget(self, id);
        self.asked.send_replace(id);
        answered.await.ok()
    }

    /// Tells of each question.
    pub(super) fn questions(&self) -> watch::Receiver<u64> {
        self.asked.subscribe()
    }

    /// A piece has come.
    pub(super) fn take(&self, piece: Metrics) {
        let bytes = piece.encoded_len();
        let mut current = self.answer();
        let Some(mut answer) = current.take_if(|answer| answer.id == piece.id) else { return };
        answer.bytes += bytes;
        if answer.bytes > LARGEST {
            return;
        }
        answer.families.extend(piece.families);
        if piece.is_last {
            // Fails only when nobody waits any more.
            let _ = answer.whole.send(answer.families);
        } else {
            *current = Some(answer);
        }
    }

    fn answer(&self) -> MutexGuard<'_, Option<Answer>> {
        self.answer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Forgets an answer that nobody waits for.
struct Forget<'a>(&'a Errand, u64);

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.0.answer().take_if(|answer| answer.id == self.1);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn piece(id: u64, name: &str, is_last: bool) -> Metrics {
        Metrics { id, families: vec![Family { name: name.into(), ..Family::default() }], is_last }
    }

    fn names(families: Vec<Family>) -> Vec<String> {
        families.into_iter().map(|family| family.name).collect()
    }

    #[test]
    fn the_pieces_of_an_answer_are_put_together_and_those_of_others_left_out() {
        let errand = Errand::default();
        let mut questions = errand.questions();
        let mut run = Box::pin(errand.run());
        assert!(run.as_mut().now_or_never().is_none() && questions.has_changed().unwrap());
        assert_eq!(*questions.borrow_and_update(), 1);
        for piece in [piece(1, "a", false), piece(7, "other", true), piece(1, "b", true)] {
            errand.take(piece);
        }
        assert_eq!(run.now_or_never().unwrap().map(names).unwrap(), ["a", "b"]);
        errand.take(piece(1, "late", true));
        assert!(errand.answer().is_none());
    }

    #[test]
    fn an_answer_that_is_too_long_or_that_nobody_waits_for_is_forgotten() {
        let errand = Errand::default();
        let mut run = Box::pin(errand.run());
        assert!(run.as_mut().now_or_never().is_none());
        errand.take(piece(1, &"x".repeat(LARGEST), false));
        assert_eq!(run.now_or_never(), Some(None));
        let mut given_up = Box::pin(errand.run());
        assert!(given_up.as_mut().now_or_never().is_none());
        errand.take(piece(2, "a", false));
        assert!(errand.answer().is_some());
        drop(given_up);
        assert!(errand.answer().is_none());
    }
}
