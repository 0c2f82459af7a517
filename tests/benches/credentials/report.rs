//! What a run found: a table for people and one JSON line for scripts.

/// One comparison: rates of the yardstick and of ours, measured in turns.
pub(crate) struct Comparison {
    /// The key in the JSON line.
    pub(crate) key: &'static str,
    /// What is compared, for people.
    pub(crate) what: &'static str,
    /// The least ratio that is wanted.
    pub(crate) target: f64,
    /// Answers a second: (yardstick, ours), a pair for each turn.
    pub(crate) pairs: Vec<(f64, f64)>,
}

impl Comparison {
    fn ratio(&self) -> f64 {
        median(self.pairs.iter().map(|(yardstick, ours)| ours / yardstick))
    }
}

/// Prints all comparisons.
pub(crate) fn print(comparisons: &[Comparison]) {
    println!("{:<58} {:>12} {:>12} {:>7} {:>7}", "median of the turns", "yardstick/s", "ours/s", "ratio", "target");
    for comparison in comparisons {
        println!(
            "{:<58} {:>12.0} {:>12.0} {:>7.3} {:>7.2}",
            comparison.what,
            median(comparison.pairs.iter().map(|pair| pair.0)),
            median(comparison.pairs.iter().map(|pair| pair.1)),
            comparison.ratio(),
            comparison.target,
        );
    }
    let line: serde_json::Map<_, _> = comparisons
        .iter()
        .map(|comparison| {
            let value = serde_json::json!({ "ratio": comparison.ratio(), "pairs": comparison.pairs });
            (comparison.key.to_owned(), value)
        })
        .collect();
    println!("{}", serde_json::Value::Object(line));
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
