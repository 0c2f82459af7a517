//! A small fuzzer that runs on stable Rust: it changes what is in the corpus (`tests/fuzz/corpus`, a directory for each
//! target) at random, keeps what was taken in a new way, and shrinks and saves what breaks a rule. `tests/fuzz.rs` runs
//! every target for a moment, `benches/fuzz.rs` for as long as one likes.
//!
//! The same seed makes the same run.

pub mod annotations;
mod corpus;
pub mod door;
pub mod messages;
mod mutate;
mod shrink;

use std::collections::HashSet;
use std::fmt;
use std::ops::Range;

use self::mutate::Mutator;

/// Inputs that a target is given at a time.
const BATCH: usize = 64;
/// The most inputs that are kept beside the corpus.
const POOL_MAX: usize = 4096;

/// What is fuzzed.
pub trait Target {
    /// What it and its corpus are called.
    fn name(&self) -> &'static str;

    /// Texts that mean something to it.
    fn words(&self) -> &'static [&'static [u8]];

    /// Inputs that no file can hold.
    fn seeds(&self) -> Vec<Vec<u8>> {
        Vec::new()
    }

    /// The part of an input that most changes are for.
    fn interesting(&self, input: &[u8]) -> Range<usize> {
        0..input.len()
    }

    /// Takes inputs, and says for each in which way it was taken.
    fn take(&mut self, inputs: &[Vec<u8>]) -> Result<Vec<Way>, Broken>;
}

/// In which way an input was taken: two that differ are worth trying both.
pub type Way = u64;

/// A rule that does not hold.
#[derive(Debug)]
pub struct Broken {
    /// Which input shows it.
    pub input: usize,
    /// The rule, and what was found.
    pub why: String,
}

/// A run that held.
#[derive(Debug)]
pub struct Tally {
    target: &'static str,
    seed: u64,
    /// Inputs taken.
    pub runs: u64,
    /// Ways in which they were taken.
    pub ways: usize,
}

/// A run that did not.
#[derive(Debug, thiserror::Error)]
#[error("{target}, seed {seed}: {why}\nshown by {input:?}\nsaved as {saved}")]
pub struct Found {
    target: &'static str,
    seed: u64,
    why: String,
    input: String,
    saved: String,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { target, seed, runs, ways } = self;
        write!(f, "{target}: seed {seed}, {runs} inputs taken in {ways} ways, every rule held")
    }
}

/// Gives the target the corpus, and then changed inputs until it has had `runs`.
pub fn fuzz(target: &mut impl Target, runs: u64, seed: u64) -> Result<Tally, Found> {
    let mut pool = corpus::load(target.name());
    pool.extend(target.seeds());
    let mut mutator = Mutator::new(seed, target.words());
    let (mut taken, mut ways) = (0, HashSet::new());
    let mut batch = pool.clone();
    while taken < runs {
        match target.take(&batch) {
            Ok(found) => ways.extend(keep_new(&mut pool, &ways, &batch, &found)),
            Err(broken) => return Err(found(target, seed, &batch, broken)),
        }
        taken += batch.len() as u64;
        batch = (0..BATCH).map(|_| mutator.change(&pool, |input| target.interesting(input))).collect();
    }
    Ok(Tally { target: target.name(), seed, runs: taken, ways: ways.len() })
}

/// Keeps the inputs that were taken in ways not seen before; these ways.
fn keep_new(pool: &mut Vec<Vec<u8>>, seen: &HashSet<Way>, batch: &[Vec<u8>], found: &[Way]) -> HashSet<Way> {
    let mut new = HashSet::new();
    for (input, way) in batch.iter().zip(found) {
        if !seen.contains(way) && new.insert(*way) && pool.len() < POOL_MAX {
            pool.push(input.clone());
        }
    }
    new
}

fn found(target: &mut impl Target, seed: u64, batch: &[Vec<u8>], broken: Broken) -> Found {
    let input = shrink::shrink(batch[broken.input].clone(), |input| target.take(&[input.to_vec()]).is_err());
    let saved = corpus::save(target.name(), &input);
    Found { target: target.name(), seed, why: broken.why, input: input.escape_ascii().to_string(), saved }
}

/// A number for a text, by which ways are told apart.
fn way(text: &[u8]) -> Way {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Breaks on any input with `..` in it.
    struct Picky;

    impl Target for Picky {
        fn name(&self) -> &'static str {
            "picky"
        }

        fn words(&self) -> &'static [&'static [u8]] {
            &[b"."]
        }

        fn seeds(&self) -> Vec<Vec<u8>> {
            vec![b"some text with a . in it".to_vec()]
        }

        fn take(&mut self, inputs: &[Vec<u8>]) -> Result<Vec<Way>, Broken> {
            let breaks = |input: &Vec<u8>| input.windows(2).any(|pair| pair == b"..");
            match inputs.iter().position(breaks) {
                Some(input) => Err(Broken { input, why: "two dots".into() }),
                None => Ok(inputs.iter().map(|input| input.len() as Way).collect()),
            }
        }
    }

    #[test]
    fn what_breaks_a_rule_is_found_and_made_small() {
        let found = fuzz(&mut Picky, 100_000, 1).unwrap_err();
        std::fs::remove_dir_all(std::path::Path::new(&found.saved).parent().unwrap()).unwrap();
        assert_eq!((found.input.as_str(), found.why.as_str()), ("..", "two dots"));
    }
}
