//! `cargo bench --package kiam-tests --bench fuzz -- --runs 10000000 --seed 1 paths`: fuzzes the targets named, or all of
//! them, and says what was tried. Whatever breaks a rule is saved in the corpus, and is tried first from then on.

use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use kiam_tests::fuzz::annotations::Annotations;
use kiam_tests::fuzz::door::{Paths, Tokens};
use kiam_tests::fuzz::messages::Messages;
use kiam_tests::fuzz::{Target, fuzz};

/// Fuzzes
#[derive(Parser)]
struct Args {
    /// Targets: paths, sets, tokens, annotations, messages; all of them if none is named
    targets: Vec<String>,

    /// Inputs for each target
    #[arg(long, default_value = "1000000")]
    runs: u64,

    /// The same seed makes the same run
    #[arg(long, default_value = "1")]
    seed: u64,

    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

impl Args {
    /// Whether every rule held for a target, if it is one to try.
    fn holds<T: Target>(&self, name: &str, target: impl FnOnce() -> T) -> bool {
        if !self.targets.is_empty() && !self.targets.iter().any(|wanted| wanted == name) {
            return true;
        }
        let outcome = fuzz(&mut target(), self.runs, self.seed);
        match &outcome {
            Ok(tally) => println!("{tally}"),
            Err(found) => println!("{found}"),
        }
        outcome.is_ok()
    }
}

fn main() -> ExitCode {
    let (args, binary) = (Args::parse(), Path::new(env!("CARGO_BIN_EXE_kiam-sandbox")));
    let held = [
        args.holds("paths", || Paths::with_everything_allowed(binary)),
        args.holds("sets", || Paths::with_sets_allowed(binary)),
        args.holds("tokens", || Tokens::required(binary)),
        args.holds("annotations", Annotations::default),
        args.holds("messages", Messages::default),
    ];
    if held.contains(&false) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
