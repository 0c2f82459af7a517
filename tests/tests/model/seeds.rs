//! One history for each seed, on all cores.
//!
//! As it is, the same three hundred histories each time. `KIAM_MODEL_SEED` is the first seed and `KIAM_MODEL_HISTORIES` how
//! many to run, one for each seed from there: with 1 a single history is played again. A history that fails is
//! shortened for as long as it still does, and printed.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::Instant;

use crate::history::History;
use crate::{run, shrink};

/// How many histories the test runs where nobody says otherwise: always the same ones, as a test must.
const HISTORIES: u64 = 300;

#[test]
fn no_pod_ever_gets_a_role_that_it_may_not_have_and_at_rest_each_gets_its_own() {
    let number = |name| std::env::var(name).ok().map(|text| text.parse().expect(name));
    let first: u64 = number("KIAM_MODEL_SEED").unwrap_or(1);
    let wanted: u64 = number("KIAM_MODEL_HISTORIES").unwrap_or(HISTORIES);
    let (next, began) = (AtomicU64::new(0), Instant::now());
    println!("seeds from {first}");
    let run_some = || {
        let numbers = std::iter::repeat_with(|| next.fetch_add(1, Ordering::Relaxed));
        numbers.take_while(|number| *number < wanted).inspect(|number| check(first + number, *number)).count()
    };
    let done: usize = std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(run_some)).collect();
        running.into_iter().map(|thread| thread.join().expect("every history is as the oracle says")).sum()
    });
    println!("{done} histories in {:?}", began.elapsed());
}

fn check(seed: u64, number: u64) {
    let history = History::random(seed);
    let Err(failure) = run::run(&history) else { return };
    let (shortest, failure) = shrink::shrink(&history, failure);
    panic!("history {number} is wrong after step {}: {}\n{shortest}", failure.after, failure.what);
}
