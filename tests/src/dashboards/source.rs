//! What a dashboard shows, as `deploy/grafana/source` says it.

use serde::Deserialize;

/// A dashboard.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dashboard {
    /// Its identity in Grafana, and the name of its file.
    pub uid: String,
    /// Its title.
    pub title: String,
    /// What it is for.
    pub about: String,
    /// What can be chosen at its top.
    #[serde(default)]
    pub variables: Vec<Variable>,
    /// Its rows, from top to bottom.
    pub rows: Vec<Row>,
}

/// Something to choose: the values that a label of a series has.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variable {
    /// What queries call it, after a `$`.
    pub name: String,
    /// What people call it.
    pub label: String,
    /// The series.
    pub series: String,
    /// Its label.
    pub source: String,
    /// Exactly one value is chosen, rather than some or all.
    #[serde(default)]
    pub single: bool,
}

/// Panels under a title.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// The title.
    pub title: String,
    /// From left to right, and on in the next line where they do not fit.
    pub panels: Vec<Panel>,
}

/// A panel.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Panel {
    /// Its title.
    pub title: String,
    /// How it looks.
    pub kind: Kind,
    /// What it shows, and what to think of it.
    pub about: String,
    /// Grafana's name of the unit.
    #[serde(default = "number")]
    pub unit: String,
    /// Columns, of 24; else what is usual for the kind.
    pub width: Option<u64>,
    /// Grid cells; else what is usual for the kind.
    pub height: Option<u64>,
    /// Whether a graph's lines are parts of a whole.
    #[serde(default)]
    pub stacked: bool,
    /// The least value that is bad.
    pub red_from: Option<f64>,
    /// The least value that is not bad.
    pub red_below: Option<f64>,
    /// What is shown.
    pub queries: Vec<Query>,
}

/// How a panel looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// One number, now.
    Stat,
    /// Lines over time.
    Graph,
    /// Labels and numbers, now.
    Table,
}

/// One expression of Prometheus' language.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Query {
    /// The expression.
    pub expr: String,
    /// What a line, or a table's column of values, is called.
    #[serde(default)]
    pub legend: String,
}

fn number() -> String {
    "short".into()
}
