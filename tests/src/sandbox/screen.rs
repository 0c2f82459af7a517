//! The terminal: the table is drawn in place; without a terminal each change is one line.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write, stdout};

use kiam_common::clock::Clock;

use super::fleet::Row;
use super::table::{self, Line, Mood};

/// Where the sandbox writes.
pub(super) struct Screen {
    clock: Clock,
    form: Form,
}

enum Form {
    /// Lines of the table as it was drawn last.
    Live { drawn: usize, colours: bool },
    /// How each pod fared last.
    Plain { told: BTreeMap<String, String> },
}

impl Screen {
    pub(super) fn new() -> Self {
        let colours = std::env::var_os("NO_COLOR").is_none();
        let form = if stdout().is_terminal() {
            Form::Live { drawn: 0, colours }
        } else {
            Form::Plain { told: BTreeMap::new() }
        };
        Self { clock: Clock::system(), form }
    }

    /// Shows the pods as they are now, and what is wrong, if anything.
    pub(super) fn show(&mut self, rows: &[Row], complaint: Option<&str>) {
        match &mut self.form {
            Form::Live { drawn, colours } => {
                let (width, height) = size();
                let mut lines = table::lines(rows, self.clock.now(), width);
                // What has scrolled away cannot be drawn again.
                lines.truncate(height - 2);
                let complaint = complaint.map(|text| table::clipped(&text.replace('\n', " "), width));
                lines.extend(complaint.map(|text| Line { mood: Mood::Refused, text }));
                let mut frame = if *drawn > 0 { format!("\x1b[{drawn}A\r\x1b[J") } else { String::new() };
                frame.extend(lines.iter().map(|line| painted(line, *colours)));
                *drawn = lines.len();
                print(&frame);
            }
            Form::Plain { told } => {
                told.retain(|pod, _| pod.is_empty() || rows.iter().any(|row| row.pod == *pod));
                for row in rows.iter().filter(|row| row.latest.is_some()) {
                    let (_, outcome) = table::outcome(row.latest.as_ref());
                    let now = format!("{} {} {} {}", row.pod, row.node, row.address, outcome);
                    if told.get(&row.pod) != Some(&now) {
                        print(&format!("{now}\n"));
                        told.insert(row.pod.clone(), now);
                    }
                }
                let complaint = complaint.unwrap_or_default();
                if told.insert(String::new(), complaint.into()).is_none_or(|before| before != complaint)
                    && !complaint.is_empty()
                {
                    print(&format!("{complaint}\n"));
                }
            }
        }
    }
}

fn painted(line: &Line, colours: bool) -> String {
    let colour = match line.mood {
        Mood::Served => "32",
        Mood::Refused => "33",
        Mood::Waiting => "1",
    };
    if colours { format!("\x1b[{colour}m{}\x1b[0m\n", line.text) } else { format!("{}\n", line.text) }
}

/// The terminal's columns and rows; many if it does not say.
fn size() -> (usize, usize) {
    let size = rustix::termios::tcgetwinsize(stdout());
    size.map_or((160, 60), |size| (usize::from(size.ws_col).max(20), usize::from(size.ws_row).max(4)))
}

/// Writes at once; that nobody reads is no reason to stop.
fn print(text: &str) {
    let mut out = stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
