//! What kingpin, Kiam's command line library, reads and clap does not.

use std::ffi::{OsStr, OsString};

use clap::{Arg, Command};

/// The environment variable that stands for a flag: `KIAM_SERVER_ADDRESS` for `--server-address`.
pub(super) fn variable(flag: &str) -> String {
    format!("KIAM_{}", flag.trim_start_matches('-').to_ascii_uppercase().replace('-', "_"))
}

/// Makes each flag whose variable is set, and not empty, default to the variable's value. A flag that was renamed has
/// the variable of its older name, too.
pub(super) fn with_environment(command: Command, environment: &dyn Fn(&str) -> Option<OsString>) -> Command {
    command.mut_subcommands(|subcommand| with_environment(subcommand, environment)).mut_args(|arg| {
        let Some(variable) = arg.get_long().map(variable) else { return arg };
        let arg = match arg.get_help() {
            Some(help) => arg.clone().help(format!("{help} [env: {variable}]")),
            None => arg,
        };
        let older = arg.get_all_aliases().unwrap_or_default().into_iter().map(self::variable);
        let mut values = std::iter::once(variable).chain(older).filter_map(|variable| environment(&variable));
        match values.find(|value| !value.is_empty() && !is_service_link(value)) {
            Some(value) => arg.default_value(value).required(false),
            None => arg,
        }
    })
}

/// Whether `value` is Kubernetes' own: where a Service is named `kiam`, pods find `KIAM_PORT=tcp://10.0.0.1:443`.
fn is_service_link(value: &OsStr) -> bool {
    value.to_str().is_some_and(|value| value.starts_with("tcp://") || value.starts_with("udp://"))
}

/// Turns kingpin's spellings into clap's: drops the leading word, and makes `--no-flag` of a switch `--flag=false`.
pub(super) fn rewrite(
    command: &Command,
    leading_word: &str,
    argv: impl IntoIterator<Item = OsString>,
) -> Vec<OsString> {
    let mut argv: Vec<OsString> = argv.into_iter().collect();
    if argv.get(1).is_some_and(|word| word == leading_word) {
        argv.remove(1);
    }
    for word in &mut argv {
        if let Some(switch) = negated(command, word) {
            *word = format!("--{switch}=false").into();
        }
    }
    argv
}

/// The switch, of the command or a subcommand, that `word` turns off.
fn negated<'a>(command: &Command, word: &'a OsStr) -> Option<&'a str> {
    let name = word.to_str()?.strip_prefix("--no-")?;
    let commands = || std::iter::once(command).chain(command.get_subcommands());
    commands()
        .flat_map(Command::get_arguments)
        .any(|arg| is_switch(arg) && arg.get_long() == Some(name))
        .then_some(name)
}

/// A flag that may stand without a value is a switch.
fn is_switch(arg: &Arg) -> bool {
    arg.get_num_args().is_some_and(|values| values.min_values() == 0)
}
