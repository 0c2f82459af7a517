//! Changes inputs at random.

use std::ops::Range;

use fastrand::Rng;

/// The longest input, in bytes.
const LONGEST: usize = 4096;

/// One source of changes.
pub(super) struct Mutator {
    random: Rng,
    words: &'static [&'static [u8]],
}

impl Mutator {
    pub(super) fn new(seed: u64, words: &'static [&'static [u8]]) -> Self {
        Self { random: Rng::with_seed(seed), words }
    }

    /// One of the pool, changed in one place or a few; mostly in the part that is interesting.
    pub(super) fn change(&mut self, pool: &[Vec<u8>], interesting: impl Fn(&[u8]) -> Range<usize>) -> Vec<u8> {
        let input = self.random.choice(pool).cloned().unwrap_or_default();
        let other = self.random.choice(pool).cloned().unwrap_or_default();
        let anywhere = self.random.u8(0..16) == 0;
        let part = |input: &[u8]| if anywhere { 0..input.len() } else { interesting(input) };
        let (range, of_other) = (part(&input), part(&other));
        let mut changed = input[range.clone()].to_vec();
        loop {
            self.change_once(&mut changed, &other[of_other.clone()]);
            if self.random.bool() {
                break;
            }
        }
        let mut whole = [&input[..range.start], &changed, &input[range.end..]].concat();
        whole.truncate(LONGEST);
        whole
    }

    fn change_once(&mut self, text: &mut Vec<u8>, other: &[u8]) {
        let at = self.random.usize(0..=text.len());
        let (range, word) = (self.range_of(text), self.random.choice(self.words).copied().unwrap_or_default());
        match self.random.u8(0..10) {
            0 => text.insert(at, self.random.u8(..)),
            1 => drop(text.drain(range)),
            2 => drop(text.splice(at..at, text[range].to_vec())),
            3 => {
                let of_other = self.range_of(other);
                drop(text.splice(range, other[of_other].iter().copied()));
            }
            4 | 5 => drop(text.splice(at..at, word.iter().copied())),
            6 => drop(text.splice(range, word.iter().copied())),
            _ => self.change_byte(text, at),
        }
    }

    /// Another byte, or the same one in another spelling.
    fn change_byte(&mut self, text: &mut Vec<u8>, at: usize) {
        let Some(byte) = text.get(at).copied() else {
            return;
        };
        let spelling = match self.random.u8(0..6) {
            0 => vec![self.random.u8(..)],
            1 => vec![byte ^ 1 << self.random.u8(0..8)],
            2 => vec![byte ^ 0x20],
            3 => format!("%{byte:02x}").into_bytes(),
            4 => format!("%{byte:02X}").into_bytes(),
            _ => format!("%25{byte:02x}").into_bytes(),
        };
        drop(text.splice(at..=at, spelling));
    }

    fn range_of(&mut self, text: &[u8]) -> Range<usize> {
        let start = self.random.usize(0..=text.len());
        let longest = (text.len() - start).min(16);
        start..start + self.random.usize(0..=longest)
    }
}
