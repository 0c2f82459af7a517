//! The live table: one line for each pod.

use std::time::Duration;

use jiff::Timestamp;

use super::fleet::Row;
use super::sdk::Asked;

const TITLES: [&str; 6] = ["POD", "NODE", "ADDRESS", "ROLE", "LATENCY", "EXPIRES IN"];

/// How a pod fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    /// It has credentials.
    Served,
    /// It was refused.
    Refused,
    /// It has not asked yet.
    Waiting,
}

/// A line of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) mood: Mood,
    pub(super) text: String,
}

/// The title line and the lines of the pods, none wider than `width`.
pub(super) fn lines(rows: &[Row], now: Timestamp, width: usize) -> Vec<Line> {
    let cells: Vec<[String; 6]> = rows.iter().map(|row| cells(row, now)).collect();
    let widths: Vec<usize> = (0..TITLES.len())
        .map(|column| {
            cells.iter().map(|row| row[column].chars().count()).chain([TITLES[column].len()]).max().unwrap_or(0)
        })
        .collect();
    let padded = |cells: &[String; 6]| -> String {
        let cells: Vec<String> = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}  ")).collect();
        cells.concat()
    };
    let titles = Line { mood: Mood::Waiting, text: padded(&TITLES.map(String::from)) + "OUTCOME" };
    let of_pods = rows.iter().zip(&cells).map(|(row, cells)| {
        let (mood, outcome) = outcome(row.latest.as_ref());
        Line { mood, text: padded(cells) + &outcome }
    });
    std::iter::once(titles).chain(of_pods).map(|line| Line { text: clipped(&line.text, width), ..line }).collect()
}

/// How a pod's last request ended, in a few words that stay the same as long as nothing changes.
pub(super) fn outcome(latest: Option<&Asked>) -> (Mood, String) {
    match latest.map(|asked| &asked.outcome) {
        None => (Mood::Waiting, "…".into()),
        Some(Ok(granted)) => (Mood::Served, format!("✓ {}", short(&granted.identity))),
        Some(Err(refused)) => {
            let status = refused.status.map(|status| format!("{status} ")).unwrap_or_default();
            (Mood::Refused, format!("✗ {status}{}", refused.why))
        }
    }
}

fn cells(row: &Row, now: Timestamp) -> [String; 6] {
    let or_dash = |text: &str| if text.is_empty() { "–".to_owned() } else { text.to_owned() };
    let latency = row.latest.as_ref().map_or_else(String::new, |asked| millis(asked.took));
    let expires = row.latest.as_ref().and_then(|asked| asked.outcome.as_ref().ok()?.expires);
    [
        row.pod.clone(),
        or_dash(&row.node),
        or_dash(&row.address),
        or_dash(short(&row.role)),
        latency,
        expires.map_or_else(String::new, |expires| countdown(expires, now)),
    ]
}

/// An ARN without what is the same for all: `123456789012:role/reader`, `assumed-role/reader/kiam-kiam`.
fn short(text: &str) -> &str {
    match text.splitn(6, ':').collect::<Vec<_>>()[..] {
        ["arn", _, "sts", _, _, session] => session,
        ["arn", partition, "iam", ..] => &text["arn:".len() + partition.len() + ":iam::".len()..],
        _ => text,
    }
}

fn millis(took: Duration) -> String {
    format!("{:.1} ms", took.as_secs_f64() * 1000.0)
}

fn countdown(end: Timestamp, now: Timestamp) -> String {
    let seconds = end.duration_since(now).as_secs().max(0);
    format!("{}m{:02}s", seconds / 60, seconds % 60)
}

/// `text`, or as much of it as fits.
pub(super) fn clipped(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.into();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::super::sdk::{Granted, Refused};
    use super::*;

    fn row(pod: &str, role: &str, outcome: Result<&str, (u16, &str)>) -> Row {
        let outcome = match outcome {
            Ok(identity) => Ok(Granted {
                identity: identity.into(),
                access_key_id: "ASIAEXAMPLE".into(),
                expires: Some("2026-11-21T10:59:58Z".parse().unwrap()),
            }),
            Err((status, why)) => Err(Refused { status: Some(status), why: why.into() }),
        };
        let latest = Some(Asked { took: Duration::from_micros(1_540), outcome });
        Row { pod: pod.into(), node: "node-a".into(), address: "127.1.0.10".into(), role: role.into(), latest }
    }

    fn shown(width: usize) -> Vec<String> {
        let identity = "arn:aws:sts::210987654321:assumed-role/export/kiam-kiam";
        let rows = [
            row("shop/export", "arn:aws:iam::210987654321:role/export", Ok(identity)),
            row("shop/plain", "", Err((404, "NoRole: the pod names no role"))),
        ];
        let now = "2026-11-21T10:00:00Z".parse().unwrap();
        lines(&rows, now, width).into_iter().map(|line| line.text).collect()
    }

    #[test]
    fn columns_are_as_wide_as_they_must_be() {
        assert_eq!(
            shown(200),
            [
                "POD          NODE    ADDRESS     ROLE                      LATENCY  EXPIRES IN  OUTCOME",
                "shop/export  node-a  127.1.0.10  210987654321:role/export  1.5 ms   59m58s      ✓ assumed-role/export/kiam-kiam",
                "shop/plain   node-a  127.1.0.10  –                         1.5 ms               ✗ 404 NoRole: the pod names no role",
            ]
        );
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        assert!(shown(40).iter().all(|line| line.chars().count() == 40 && line.ends_with('…')));
    }
}
