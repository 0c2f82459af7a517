//! The rules of `deploy/prometheus`: promtool finds them sound, their tests pass, each alert is tested and each has its
//! section in the runbooks. Whether the series are there is `observed`'s to show.

use std::fs;
use std::path::{Path, PathBuf};

use kiam_tests::real::prometheus::promtool;
use serde_json::Value;

/// The files of rules.
pub(crate) const FILES: [&str; 3] = ["recording.yaml", "agents.yaml", "servers.yaml"];

/// A recording or alerting rule.
pub(crate) struct Rule(Value);

impl Rule {
    /// Every rule.
    pub(crate) fn all() -> Vec<Self> {
        let groups = FILES.map(|file| read(&directory().join(file))["groups"].take());
        let groups = groups.iter().flat_map(|groups| groups.as_array().expect("groups"));
        groups.flat_map(|group| group["rules"].as_array().expect("rules")).cloned().map(Self).collect()
    }

    /// The alert's name; none of a recording rule.
    pub(crate) fn alert(&self) -> Option<&str> {
        self.0["alert"].as_str()
    }

    /// The expression.
    pub(crate) fn expr(&self) -> &str {
        self.0["expr"].as_str().expect("an expression")
    }

    fn annotation(&self, name: &str) -> &str {
        self.0["annotations"][name].as_str().unwrap_or_default()
    }
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/prometheus")
}

fn read(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_norway::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn promtool_finds_the_rules_sound() {
    let (sound, said) = promtool(&directory(), &[["check", "rules"].as_slice(), &FILES].concat());
    assert!(sound, "{said}");
}

#[test]
fn every_alert_fires_where_it_should_and_nowhere_else() {
    let (passed, said) = promtool(&directory().join("tests"), &[["test", "rules"].as_slice(), &FILES].concat());
    assert!(passed, "{said}");
    let tests = FILES.map(|file| fs::read_to_string(directory().join("tests").join(file)).expect("its tests"));
    for rule in Rule::all() {
        let tested = match rule.alert() {
            Some(alert) => format!("alertname=\"{alert}\""),
            None => rule.0["record"].as_str().expect("a name").to_owned(),
        };
        assert!(tests.iter().any(|tests| tests.contains(&tested)), "{tested} is not tested");
    }
}

#[test]
fn every_alert_says_how_bad_what_and_what_to_do() {
    let runbooks = fs::read_to_string(directory().join("../runbooks.md")).expect("the runbooks");
    let mut sections: Vec<&str> = runbooks.lines().filter_map(|line| line.strip_prefix("## Kiam")).collect();
    for rule in Rule::all() {
        let Some(alert) = rule.alert() else { continue };
        let severity = rule.0["labels"]["severity"].as_str().unwrap_or_default();
        assert!(["info", "warning", "critical"].contains(&severity), "{alert}: {severity}");
        assert!(rule.annotation("summary").len() > 10 && rule.annotation("description").len() > 40, "{alert}");
        let link = format!("deploy/runbooks.md#{}", alert.to_lowercase());
        assert_eq!(rule.annotation("runbook_url"), link);
        let (_, section) = runbooks.split_once(&format!("\n## {alert}\n")).unwrap_or_else(|| panic!("{alert}"));
        let section = section.split("\n## ").next().unwrap_or_default();
        for part in ["**Meaning.**", "**Impact.**", "**Look at.**", "**Do.**"] {
            assert!(section.contains(part), "{alert}: {part}");
        }
        sections.retain(|section| format!("Kiam{section}") != alert);
    }
    assert_eq!(sections, Vec::<&str>::new(), "runbooks without an alert");
}
