//! clap's errors in one line that names the flag or variable, the value and what was expected.

use std::error::Error as _;
use std::num::ParseIntError;

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// Why there is nothing to run.
#[derive(Debug, thiserror::Error)]
pub enum ParseError {
    /// Help or version were asked for; clap prints them.
    #[error("{0}")]
    Asked(clap::Error),
    /// One line that says what is wrong.
    #[error("{0}")]
    Wrong(String),
}

/// Where a value came from.
pub(super) struct Given {
    /// The variable that stands for the flag.
    pub(super) variable: String,
    /// Whether the value is the variable's.
    pub(super) by_variable: bool,
}

impl ParseError {
    pub(super) fn new(error: clap::Error, given: &dyn Fn(&str, &str) -> Given) -> Self {
        if error.use_stderr() { Self::Wrong(line(&error, given)) } else { Self::Asked(error) }
    }
}

fn line(error: &clap::Error, given: &dyn Fn(&str, &str) -> Given) -> String {
    let arg = text(error, ContextKind::InvalidArg);
    match error.kind() {
        ErrorKind::UnknownArgument => match text(error, ContextKind::SuggestedArg) {
            Some(meant) => format!("{} is no flag of this program; did you mean {meant}?", arg.unwrap_or_default()),
            None => format!("{} is no flag of this program; --help lists them", arg.unwrap_or_default()),
        },
        ErrorKind::MissingRequiredArgument => format!("missing {}", arg.unwrap_or_default()),
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => {
            let flag = flag(&arg.unwrap_or_default()).to_owned();
            let value = text(error, ContextKind::InvalidValue).unwrap_or_default();
            let given = given(&flag, &value);
            let name = if given.by_variable { format!("{} ({flag})", given.variable) } else { flag };
            format!("{name}: {value:?} is not valid: {}", expected(error))
        }
        _ => first_paragraph(&error.to_string()),
    }
}

/// What a value should have been.
fn expected(error: &clap::Error) -> String {
    if let Some(allowed) = text(error, ContextKind::ValidValue).filter(|allowed| !allowed.is_empty()) {
        return format!("expected one of {allowed}");
    }
    match error.source() {
        Some(source) if source.is::<ParseIntError>() => "expected a whole number".into(),
        Some(source) => source.to_string(),
        None => "expected a value".into(),
    }
}

/// `--port` of `--port <PORT>`.
fn flag(arg: &str) -> &str {
    arg.split(|c: char| c.is_whitespace() || c == '=' || c == '[').next().unwrap_or(arg)
}

fn text(error: &clap::Error, kind: ContextKind) -> Option<String> {
    match error.get(kind)? {
        ContextValue::String(text) => Some(text.clone()),
        ContextValue::Strings(texts) => Some(texts.join(", ")),
        ContextValue::StyledStr(text) => Some(text.to_string()),
        _ => None,
    }
}

/// clap's own words up to its first empty line, in one line.
fn first_paragraph(told: &str) -> String {
    let told = told.strip_prefix("error: ").unwrap_or(told);
    let lines: Vec<&str> = told.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
    lines.join(" ")
}
