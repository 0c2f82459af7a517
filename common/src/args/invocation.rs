//! What a binary was started for: its program, or `health`.

use clap::{ArgMatches, Args, Command, CommandFactory, Error, FromArgMatches, Parser};

use crate::health::HealthArgs;

/// The command line of a binary: the flags `C` of its program, or `health` with its own.
#[derive(Clone, Debug)]
pub enum Invocation<C> {
    /// Run the program.
    Run(C),
    /// Ask a server whether it is well.
    Health(Box<HealthArgs>),
}

const HEALTH: &str = "health";

impl<C: Parser> Parser for Invocation<C> {}

impl<C: Parser> CommandFactory for Invocation<C> {
    fn command() -> Command {
        let health = Command::new(HEALTH).about("Asks a server whether it is well: prints ok, or exits with 1");
        C::command()
            .subcommand(HealthArgs::augment_args(health))
            .subcommand_negates_reqs(true)
            .args_conflicts_with_subcommands(true)
            .disable_help_subcommand(true)
    }

    fn command_for_update() -> Command {
        Self::command()
    }
}

impl<C: Parser> FromArgMatches for Invocation<C> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        match matches.subcommand_matches(HEALTH) {
            Some(matches) => HealthArgs::from_arg_matches(matches).map(|args| Self::Health(Box::new(args))),
            None => C::from_arg_matches(matches).map(Self::Run),
        }
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
