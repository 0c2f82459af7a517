//! `kiam-agent intercept add|check|remove|show`: the rules written, judged and taken away once, for init containers and
//! for people.
//!
//! Exit codes: 0 when it is done, or when `check` finds the rules whole; 1 when not, with one line that says why; 2 for
//! a command line that cannot be understood.

use std::process::ExitCode;

use clap::ValueEnum;

use super::backend::{Backend, Error, Found};
use super::{Interception, Plan};

/// What to do with the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Action {
    /// Write them, whatever of them is there
    Add,
    /// Say whether they are there, and nothing else
    Check,
    /// Take them away: pods reach the node's own metadata service then
    Remove,
    /// Print them, and what is there
    Show,
}

/// Does it, and says how it went.
pub(crate) async fn run(action: Action, interception: &Interception) -> ExitCode {
    match act(action, interception.backend().as_mut(), &interception.plan).await {
        Ok((said, code)) => {
            println!("{said}");
            code
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn act(action: Action, backend: &mut dyn Backend, plan: &Plan) -> Result<(String, ExitCode), Error> {
    let done = |said: &str| Ok((said.to_owned(), ExitCode::SUCCESS));
    match action {
        Action::Add => {
            backend.install().await?;
            match backend.check().await? {
                Found::Whole { .. } => done("the rules are there"),
                found => Err(Error::NotKept(told(&found))),
            }
        }
        Action::Check => {
            let found = backend.check().await?;
            let whole = matches!(found, Found::Whole { .. });
            Ok((told(&found), if whole { ExitCode::SUCCESS } else { ExitCode::FAILURE }))
        }
        Action::Remove => {
            backend.remove().await?;
            done("the rules are gone: pods reach the node's own metadata service")
        }
        Action::Show => {
            let rules = plan.catching().into_iter().chain(plan.closing());
            let mut lines: Vec<String> = rules.map(|rule| rule.to_string()).collect();
            lines.push(told(&backend.check().await?));
            done(&lines.join("\n"))
        }
    }
}

/// What is there, in words.
pub(crate) fn told(found: &Found) -> String {
    match found {
        Found::Whole { caught, closed } => {
            format!("the rules are whole; {caught} connections were caught, {closed} packets dropped")
        }
        Found::Nothing => "there are no rules".into(),
        Found::Different(difference) => format!("the rules are not the wanted ones: {difference}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intercept::fake::FakeBackend;
    use crate::intercept::rule::tests::plan;

    async fn done(action: Action, backend: &mut FakeBackend) -> (String, bool) {
        let (said, code) = act(action, backend, &plan("eni+", "10.0.0.1")).await.unwrap();
        (said, code == ExitCode::SUCCESS)
    }

    #[tokio::test]
    async fn rules_are_added_checked_shown_and_removed() {
        let mut backend = FakeBackend::default();
        assert_eq!(done(Action::Check, &mut backend).await, ("there are no rules".into(), false));
        assert_eq!(done(Action::Add, &mut backend).await, ("the rules are there".into(), true));
        let (said, whole) = done(Action::Check, &mut backend).await;
        assert!(whole && said.starts_with("the rules are whole; 0 connections"), "{said}");
        let (said, _) = done(Action::Show, &mut backend).await;
        assert!(said.contains("kiam: from eni+ to 169.254.169.254: closed\n") && said.contains("are whole"), "{said}");
        assert!(done(Action::Remove, &mut backend).await.1);
        assert!(!done(Action::Check, &mut backend).await.1);
    }

    #[tokio::test]
    async fn rules_that_are_not_the_wanted_ones_are_told_apart() {
        let mut backend = FakeBackend::default();
        backend.found(Found::Different("missing: this".into()));
        let (said, whole) = done(Action::Check, &mut backend).await;
        assert_eq!((said.as_str(), whole), ("the rules are not the wanted ones: missing: this", false));
    }

    #[tokio::test]
    async fn adding_fails_when_the_rules_cannot_be_written() {
        let mut backend = FakeBackend::default();
        backend.refuse(true);
        let error = act(Action::Add, &mut backend, &plan("eni+", "10.0.0.1")).await.unwrap_err().to_string();
        assert!(error.contains("the kernel said") && error.contains("NET_ADMIN"), "{error}");
    }
}
