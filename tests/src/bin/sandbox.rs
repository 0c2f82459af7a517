//! `kiam-sandbox`: all of kiam-rs on one machine. Started as `kiam-sandbox server …` or `kiam-sandbox agent …` it is
//! one of the programs that it starts.

use std::process::ExitCode;

use kiam_tests::{sandbox, stack};

fn main() -> ExitCode {
    stack::run_program().unwrap_or_else(sandbox::run)
}
