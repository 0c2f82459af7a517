//! What a binary was started for: its program, `health`, or a command of its own.

use clap::{ArgMatches, Args, Command, CommandFactory, Error, FromArgMatches, Parser, Subcommand};

use crate::health::HealthArgs;

/// The command line of a binary: the flags `C` of its program, `health` with its own, or one of the commands `S`.
#[derive(Clone, Debug)]
pub enum Invocation<C, S> {
    /// Run the program.
    Run(C),
    /// Ask a server whether it is well.
    Health(Box<HealthArgs>),
    /// Do one thing, and end.
    Command(S),
}

const HEALTH: &str = "health";

impl<C: Parser, S: Subcommand> Parser for Invocation<C, S> {}

impl<C: Parser, S: Subcommand> CommandFactory for Invocation<C, S> {
    fn command() -> Command {
        let health = HealthArgs::augment_args(Command::new(HEALTH));
        let health = health.about("Asks a server whether it is well: prints ok, or exits with 1");
        let program = C::command();
        // `S` would put its own words in the place of the program's.
        let about = program.get_about().cloned().unwrap_or_default();
        S::augment_subcommands(program.subcommand(health))
            .about(about)
            .subcommand_negates_reqs(true)
            .args_conflicts_with_subcommands(true)
            .disable_help_subcommand(true)
    }

    fn command_for_update() -> Command {
        Self::command()
    }
}

impl<C: Parser, S: Subcommand> FromArgMatches for Invocation<C, S> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        match matches.subcommand() {
            Some((HEALTH, matches)) => HealthArgs::from_arg_matches(matches).map(|args| Self::Health(Box::new(args))),
            Some(_) => S::from_arg_matches(matches).map(Self::Command),
            None => C::from_arg_matches(matches).map(Self::Run),
        }
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
