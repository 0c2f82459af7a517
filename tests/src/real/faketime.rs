//! libfaketime: gives a process another idea of the date. Its monotonic clock goes on as it was; the timeouts of `poll`
//! and its like do not, they run as fast as the date.

use std::path::Path;

use jiff::Timestamp;

use super::installed;

/// The environment of a process that believes it is `now`, and that `pace` seconds pass in each.
pub fn running(now: Timestamp, pace: i32) -> Vec<(String, String)> {
    environment("FAKETIME", &format!("@{} x{pace}", now.strftime("%Y-%m-%d %H:%M:%S")))
}

/// The environment of a process whose clock is set by what a file says: `+1h`, `-90m`, `+0`.
pub fn set_by(file: &Path) -> Vec<(String, String)> {
    environment("FAKETIME_TIMESTAMP_FILE", &file.display().to_string())
}

fn environment(variable: &str, value: &str) -> Vec<(String, String)> {
    let library = installed("KIAM_TEST_FAKETIME").display().to_string();
    let pairs = [
        ("LD_PRELOAD", library.as_str()),
        (variable, value),
        ("TZ", "UTC"),
        ("FAKETIME_NO_CACHE", "1"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ];
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}
