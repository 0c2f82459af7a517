//! The nodes in columns.

use std::time::Duration;

use jiff::Timestamp;
use kiam_common::report::{duration, printable};

use super::nodes::Node;

const COLUMNS: [&str; 9] =
    ["NODE", "VERSION", "CONNECTED", "SEEN", "LAG", "INTERCEPTION", "CERTIFICATE", "BINDING", "SERVER"];
/// The widest that a column gets, in characters: some of it was said by others.
const WIDEST: usize = 63;

/// One line for each node, below their names.
pub(super) fn of(nodes: &[Node], now: Timestamp) -> String {
    let lines: Vec<[String; COLUMNS.len()]> =
        std::iter::once(COLUMNS.map(Into::into)).chain(nodes.iter().map(|node| line(node, now))).collect();
    let mut widths = [0; COLUMNS.len()];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let padded = |line: &[String; COLUMNS.len()]| {
        let cells: Vec<String> = line.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    lines.iter().map(padded).collect()
}

fn line(node: &Node, now: Timestamp) -> [String; COLUMNS.len()] {
    let cells = [
        node.name.clone(),
        node.version.clone(),
        between(node.connected_since, now),
        between(node.last_seen, now),
        node.lag.map_or_else(|| "-".into(), |lag| lag.to_string()),
        node.interception.as_str().into(),
        node.certificate_ends.map_or_else(|| "-".into(), |ends| left(now, ends)),
        node.binding.clone(),
        node.server.clone(),
    ];
    cells.map(|cell| printable(&cell).chars().take(WIDEST).collect())
}

fn left(now: Timestamp, ends: Timestamp) -> String {
    if ends <= now { "ENDED".into() } else { between(now, ends) }
}

fn between(from: Timestamp, to: Timestamp) -> String {
    duration(Duration::try_from(to.duration_since(from)).unwrap_or_default())
}
