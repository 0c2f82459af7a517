//! A child process on a leash: it ends when its handle is dropped, and also when the whole test program ends in any
//! other way, by a signal or with the handle in a `static`. Its output goes to a file.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Runs a program until it ends by itself or nobody holds the other end of standard input any more; then removes the
/// directory that belongs to the program, if one was named.
const LEASH: &str = r#"
removes=$1 && shift
exec 3<&0
"$@" 3<&- </dev/null &
child=$!
{ read -r _ <&3; kill -KILL $child; } >/dev/null 2>&1 &
wait $child 2>/dev/null
status=$?
[ -z "$removes" ] || { read -r _ <&3; rm -rf "$removes"; }
exit $status
"#;

/// A running program.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` in `dir`, with nothing in its environment but what `command` sets. Its output goes to
    /// `<name>.log` there.
    pub fn start(name: &str, command: &Command, dir: &Path) -> Self {
        Self::spawn(name, command, dir, "")
    }

    /// The same, and `dir` is removed when the program has ended.
    pub fn start_with_own_directory(name: &str, command: &Command, dir: &Path) -> Self {
        Self::spawn(name, command, dir, &dir.display().to_string())
    }

    fn spawn(name: &str, command: &Command, dir: &Path, removes: &str) -> Self {
        let log = dir.join(format!("{name}.log"));
        let output = File::options().create(true).append(true).open(&log).expect("the log can be written");
        let mut leash = Command::new("/bin/sh");
        leash.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", dir);
        leash.args(["-c", LEASH, "leash", removes]).arg(command.get_program()).args(command.get_args());
        leash.envs(command.get_envs().filter_map(|(variable, value)| Some((variable, value?))));
        leash.current_dir(dir).stdin(Stdio::piped());
        leash.stdout(output.try_clone().expect("a descriptor is left")).stderr(output);
        let child = leash.spawn().unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        Self { name: name.into(), child, log }
    }

    /// All it has written so far.
    pub fn log(&self) -> String {
        fs::read(&self.log).map(|log| String::from_utf8_lossy(&log).into_owned()).unwrap_or_default()
    }

    /// Asserts that it still runs.
    ///
    /// # Panics
    /// With the end of its log, if it does not.
    pub fn assert_running(&mut self) {
        if let Ok(Some(status)) = self.child.try_wait() {
            panic!("{} ended with {status}; its log ends with\n{}", self.name, last_lines(&self.log()));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Ends `read`, and so the program.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- the log of {} ends with\n{}", self.name, last_lines(&self.log()));
        }
    }
}

fn last_lines(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}
