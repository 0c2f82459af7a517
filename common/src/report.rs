//! What a diagnosis found, step by step: `kiam-server explain` tells of a pod and `kiam-agent doctor` of a node in the
//! same form, as text with a mark at each step, or as JSON.
//!
//! What must always hold: a diagnosis is good exactly when no step of it is bad. A step never carries a secret.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;

/// How a step turned out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Good,
    /// This alone keeps the whole from working.
    Bad,
    /// Worth a look, and perhaps as it should be.
    Doubtful,
    /// Not looked at: there is nothing to look at, or a step before it is bad.
    Skipped,
}

impl Verdict {
    const fn mark(self) -> char {
        match self {
            Self::Good => '✓',
            Self::Bad => '✗',
            Self::Doubtful => '?',
            Self::Skipped => '–',
        }
    }
}

/// One step of a diagnosis.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// What was looked at, in one word.
    pub check: String,
    /// How it turned out.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// What to do; empty where there is nothing to do.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub advice: String,
}

impl Step {
    /// As it should be.
    pub fn good(check: &str, found: impl Into<String>) -> Self {
        Self::new(check, Verdict::Good, found, "")
    }

    /// This alone keeps the whole from working.
    pub fn bad(check: &str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::new(check, Verdict::Bad, found, advice)
    }

    /// Worth a look.
    pub fn doubtful(check: &str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::new(check, Verdict::Doubtful, found, advice)
    }

    /// Not looked at.
    pub fn skipped(check: &str, why: impl Into<String>) -> Self {
        Self::new(check, Verdict::Skipped, why, "")
    }

    fn new(check: &str, verdict: Verdict, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { check: check.into(), verdict, found: found.into(), advice: advice.into() }
    }
}

/// A diagnosis.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Of what.
    pub subject: String,
    /// Whether no step is bad.
    pub good: bool,
    /// In the order in which one depends on another.
    pub steps: Vec<Step>,
}

impl Report {
    /// Of these steps.
    pub fn new(subject: impl Into<String>, steps: Vec<Step>) -> Self {
        let good = steps.iter().all(|step| step.verdict != Verdict::Bad);
        Self { subject: subject.into(), good, steps }
    }

    /// For people: a line for each step, and one for what to do about it.
    pub fn to_text(&self) -> String {
        let width = self.steps.iter().map(|step| step.check.chars().count()).max().unwrap_or_default();
        let mut text = format!("{}\n", printable(&self.subject));
        for Step { check, verdict, found, advice } in &self.steps {
            let (check, found) = (printable(check), printable(found));
            // Writing to a text never fails.
            let _always_written = writeln!(text, " {} {check:width$}  {found}", verdict.mark());
            if !advice.is_empty() {
                let _always_written = writeln!(text, "   {:width$}  → {}", "", printable(advice));
            }
        }
        text
    }

    /// For programs: one object.
    pub fn to_json(&self) -> String {
        // Fails only for maps with keys that are no texts, and there is none.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    /// Prints it, and in the text what follows if it is good or not. Success if it is good.
    pub fn print(&self, as_json: bool, if_good: &str, if_not: &str) -> ExitCode {
        if as_json {
            print!("{}", self.to_json());
        } else {
            println!("{}{}", self.to_text(), if self.good { if_good } else { if_not });
        }
        if self.good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// In one line, and without anything that a terminal would act upon: some of it was said by others.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// A duration as people say it, by its two largest units: `12s`, `3m 20s`, `5h 0m`, `17d 3h`.
pub fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, ..) => format!("{hours}h {}m", minutes % 60),
        _ => format!("{days}d {}h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let steps = vec![
            Step::good("pod", "team/reader is known"),
            Step::doubtful("node", "node-1 has no stream\x1b[31m", "ask the other servers"),
            Step::skipped("role", "not looked at"),
        ];
        Report::new("team/reader", steps)
    }

    #[test]
    fn text_has_a_mark_for_each_step_and_what_to_do_and_nothing_that_a_terminal_acts_upon() {
        let expected = "team/reader\n ✓ pod   team/reader is known\n ? node  node-1 has no stream [31m\n         → ask the \
                        other servers\n – role  not looked at\n";
        assert_eq!(report().to_text(), expected);
    }

    #[test]
    fn durations_are_told_by_their_two_largest_units() {
        let told = |seconds| duration(Duration::from_secs(seconds));
        assert_eq!([0, 59, 200, 18_000, 1_479_600].map(told), ["0s", "59s", "3m 20s", "5h 0m", "17d 3h"]);
    }

    #[test]
    fn only_a_bad_step_makes_it_bad() {
        let mut steps = report().steps;
        assert!(report().good);
        steps.push(Step::bad("address", "two pods have it", "wait"));
        assert!(!Report::new("team/reader", steps).good);
    }

    #[test]
    fn json_has_what_the_text_has() {
        let json: serde_json::Value = serde_json::from_str(&report().to_json()).unwrap();
        assert_eq!((&json["subject"], &json["good"]), (&"team/reader".into(), &true.into()));
        let step = &json["steps"][1];
        assert_eq!((&step["check"], &step["verdict"]), (&"node".into(), &"doubtful".into()));
        assert_eq!(step["advice"], "ask the other servers");
        assert!(json["steps"][0].get("advice").is_none());
    }
}
