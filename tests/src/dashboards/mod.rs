//! The Grafana dashboards of `deploy/grafana`: `source/*.yaml` there says what they show, and this makes the JSON that
//! Grafana takes. `kiam-dashboards` writes the files; a test holds that they are what would be written.

mod grafana;
mod panel;
pub mod source;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

pub use grafana::DATASOURCE;
use source::Dashboard;

/// The directory of the dashboards.
pub fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/grafana")
}

/// A dashboard's file and what is in it.
#[derive(Debug)]
pub struct Rendered {
    /// Where it goes.
    pub file: PathBuf,
    /// What it shows.
    pub source: Dashboard,
    /// The dashboard as Grafana takes it.
    pub json: Value,
}

impl Rendered {
    /// The file's text.
    pub fn text(&self) -> String {
        format!("{:#}\n", self.json)
    }
}

/// Every dashboard, by file name.
///
/// # Errors
/// What is wrong with which source.
pub fn render() -> Result<Vec<Rendered>, String> {
    let directory = directory();
    let sources = fs::read_dir(directory.join("source")).map_err(|error| format!("deploy/grafana/source: {error}"))?;
    let mut rendered = Vec::new();
    for path in sources.filter_map(|entry| Some(entry.ok()?.path())) {
        let wrong = |why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
        let text = fs::read_to_string(&path).map_err(|error| wrong(&error))?;
        let source: Dashboard = serde_norway::from_str(&text).map_err(|error| wrong(&error))?;
        let file = directory.join(format!("{}.json", source.uid));
        rendered.push(Rendered { file, json: grafana::dashboard(&source), source });
    }
    rendered.sort_by(|one, other| one.file.cmp(&other.file));
    Ok(rendered)
}
