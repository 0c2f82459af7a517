//! Every fuzz target, for a moment; `cargo bench --bench fuzz` runs them for longer.

use std::path::Path;

use kiam_tests::fuzz::annotations::Annotations;
use kiam_tests::fuzz::door::{Paths, Tokens};
use kiam_tests::fuzz::messages::Messages;
use kiam_tests::fuzz::{Target, fuzz};

const BINARY: &str = env!("CARGO_BIN_EXE_kiam-sandbox");

fn holds(mut target: impl Target, runs: u64) {
    match fuzz(&mut target, runs, 1) {
        Ok(tally) => println!("{tally}"),
        Err(found) => panic!("{found}"),
    }
}

#[test]
fn whatever_is_asked_nothing_reaches_the_metadata_service_that_may_not() {
    holds(Paths::with_everything_allowed(Path::new(BINARY)), 5_000);
}

#[test]
fn whatever_is_asked_the_sets_of_routes_open_their_own_paths_only() {
    holds(Paths::with_sets_allowed(Path::new(BINARY)), 5_000);
}

#[test]
fn whatever_is_presented_only_the_token_that_was_given_opens() {
    holds(Tokens::required(Path::new(BINARY)), 5_000);
}

#[test]
fn whatever_is_annotated_it_is_read_and_permits_no_more_than_it_says() {
    holds(Annotations::default(), 5_000);
}

#[test]
fn whatever_arrives_as_a_message_is_one_or_none() {
    holds(Messages, 50_000);
}
