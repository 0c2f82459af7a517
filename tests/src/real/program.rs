//! The command lines of the product's own programs, of which tests change what they are about.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tokio::process::Child;

use crate::stack::{Program, ProgramError, Spec};

/// A command line and an environment.
#[derive(Clone, Debug)]
pub struct Invocation {
    binary: PathBuf,
    words: &'static [&'static str],
    flags: BTreeMap<String, String>,
    environment: BTreeMap<String, String>,
}

impl Invocation {
    /// `words` are `server` or `agent`, and a subcommand; `binary` is that of `kiam-sandbox`, which is both programs.
    pub fn new(binary: &str, words: &'static [&'static str]) -> Self {
        Self { binary: binary.into(), words, flags: BTreeMap::new(), environment: BTreeMap::new() }
    }

    /// Run by another program, which `words` are for, the binary and its own words included.
    #[must_use]
    pub fn run_by(mut self, program: &str, words: &'static [&'static str]) -> Self {
        self.binary = program.into();
        self.words = words;
        self
    }

    /// With this flag, in place of what it was before.
    #[must_use]
    #[expect(clippy::needless_pass_by_value, reason = "a number, a path or a text: each reads best as it is")]
    pub fn flag(mut self, name: &str, value: impl ToString) -> Self {
        self.flags.insert(name.into(), value.to_string());
        self
    }

    /// Without this flag.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.flags.remove(name);
        self
    }

    /// With this environment variable.
    #[must_use]
    #[expect(clippy::needless_pass_by_value, reason = "a number, a path or a text: each reads best as it is")]
    pub fn env(mut self, name: &str, value: impl ToString) -> Self {
        self.environment.insert(name.into(), value.to_string());
        self
    }

    /// With every flag given by its environment variable instead.
    #[must_use]
    pub fn by_environment(mut self) -> Self {
        for (name, value) in std::mem::take(&mut self.flags) {
            let variable = name.trim_start_matches('-').to_uppercase().replace('-', "_");
            self.environment.insert(format!("KIAM_{variable}"), value);
        }
        self
    }

    /// Runs it until it ends, which it must do by itself: its exit code, and what it wrote to stdout and stderr.
    ///
    /// # Panics
    /// If it is ended by a signal.
    pub fn run(&self) -> (i32, String) {
        let mut command = Command::new(&self.binary);
        command.args(self.arguments()).env_clear().envs(&self.environment);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut program = command.spawn().expect("the program starts");
        // It ends when nobody holds this any more.
        let leash = program.stdin.take();
        let output = program.wait_with_output().expect("the program ends");
        drop(leash);
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.code().expect("an exit code"), said)
    }

    /// Starts it, logging to a file; dropping it kills it.
    pub fn spawn(&self, log: File) -> Child {
        let mut command = tokio::process::Command::new(&self.binary);
        command.args(self.arguments()).env_clear().envs(&self.environment).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log).spawn().expect("the program starts")
    }

    /// Starts it, until it says in its log where it listens. `name` is that of the log in `directory`.
    pub async fn start(&self, name: &str, directory: &Path) -> Result<Program, ProgramError> {
        Program::start(Spec {
            name: name.into(),
            binary: self.binary.clone(),
            arguments: self.arguments(),
            environment: self.environment.clone().into_iter().collect(),
            directory: directory.into(),
        })
        .await
    }

    fn arguments(&self) -> Vec<String> {
        let flags = self.flags.iter().map(|(name, value)| format!("{name}={value}"));
        self.words.iter().map(ToString::to_string).chain(flags).collect()
    }
}
