//! Random histories of a cluster of two nodes and two servers, checked against an oracle that only reads what has
//! happened. Directory, vault, desk and ledger are the real ones, and what goes between them is encoded and decoded
//! protobuf; watches, connections, STS, the kernel's network and the time do what the history says.
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
//!
//! # What must be so in the end
//!
//! When nothing happens any more, everybody has been told everything and every agent has a stream: every pod that may
//! have its role is answered with it, and with no other; every other is refused, for the right reason. Where the ledger
//! sends a pod on, it is the answer of the stream's server that counts.
//!
//! # What is left out
//!
//! A pod keeps its link to the node for as long as it has its address, and on one node an address leads to one pod at a
//! time (in the API, and on several nodes, it may be several pods'). While things happen,
//! the calls that an agent makes for what its ledger does not say: they are answered by what the server has heard, and
//! no pin speaks against that.
//!
//! # Running it
//!
//! As it is, the same three hundred histories each time. `KIAM_MODEL_SEED` is the first seed and `KIAM_MODEL_HISTORIES` how
//! many to run, one for each seed from there: with 1 a single history is played again. A history that fails is
//! shortened for as long as it still does, and printed.

mod agent;
mod calls;
mod cluster;
mod history;
mod oracle;
mod rest;
mod run;
mod server;
mod shrink;
mod sts;

use std::sync::atomic::{AtomicU64, Ordering};

use history::History;
use tokio::time::Instant;

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
