//! The command lines of both programs: how they are read, and the groups of flags that they share.
//!
//! Kiam's own command lines must go on working unchanged, so on top of clap this reads what kingpin did: a leading
//! word (`/kiam agent …`), `--no-flag` and `--flag=false` for switches, and an environment variable `KIAM_<FLAG>`
//! beside each flag. The command line wins over the environment, the environment over the default. Whatever is
//! wrong is told in one line that names the flag or variable, the value and what was expected, with exit code 2.

mod address;
mod duration;
mod error;
mod groups;
mod invocation;
mod kingpin;
mod metrics;

use std::ffi::{OsStr, OsString};
use std::fmt::Display;
use std::process;

pub use address::{HostPort, parse_server_name};
pub use duration::parse_duration;
pub use error::ParseError;
pub use groups::{KeepaliveArgs, LogArgs, OpsArgs, ServerAddressArgs, TlsArgs};
pub use invocation::Invocation;
pub use metrics::{Incomplete, MetricsArgs, MetricsAuth, MetricsFiles, parse_metrics_path};

/// The exit code of a program that was started with something it cannot understand.
pub const USAGE_EXIT_CODE: u8 = 2;

/// Parses the process's own arguments and environment. `--help` and `--version` print and exit with 0; anything
/// wrong prints one line to stderr and exits with 2.
pub fn parse_or_exit<C: clap::Parser>(leading_word: &str) -> C {
    let environment = |name: &str| std::env::var_os(name);
    parse(leading_word, std::env::args_os(), &environment).unwrap_or_else(|error| match error {
        ParseError::Asked(answer) => answer.exit(),
        ParseError::Wrong(line) => exit_with_usage(line),
    })
}

/// Parses `argv`, whose first item is the program's name, without looking at the environment.
pub fn try_parse_from<C: clap::Parser>(
    leading_word: &str,
    argv: impl IntoIterator<Item = OsString>,
) -> Result<C, ParseError> {
    parse(leading_word, argv, &|_| None)
}

/// Parses `argv`, whose first item is the program's name, and an environment given as a function from a variable's
/// name to its value.
pub fn parse<C: clap::Parser>(
    leading_word: &str,
    argv: impl IntoIterator<Item = OsString>,
    environment: &dyn Fn(&str) -> Option<OsString>,
) -> Result<C, ParseError> {
    let mut command = kingpin::with_environment(C::command(), environment);
    let argv = kingpin::rewrite(&command, leading_word, argv);
    let given = |flag: &str, value: &str| error::Given {
        variable: kingpin::variable(flag),
        by_variable: !mentions(&argv, flag)
            && environment(&kingpin::variable(flag)).as_deref() == Some(OsStr::new(value)),
    };
    let mut matches = command.try_get_matches_from_mut(&argv).map_err(|error| ParseError::new(error, &given))?;
    C::from_arg_matches_mut(&mut matches).map_err(|error| ParseError::new(error, &given))
}

/// Ends the program because of what it was started with: prints `message` as one line to stderr, exits with 2.
pub fn exit_with_usage(message: impl Display) -> ! {
    eprintln!("error: {message}");
    process::exit(USAGE_EXIT_CODE.into())
}

/// Whether `flag` (such as `--port`) is on the command line, with or without a value beside it.
fn mentions(argv: &[OsString], flag: &str) -> bool {
    argv.iter().filter_map(|word| word.to_str()).any(|word| word.split('=').next() == Some(flag))
}

#[cfg(test)]
mod tests;
