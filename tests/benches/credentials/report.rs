//! What a run found: a table for people and one JSON line for scripts.

/// What a ratio of ours to the yardstick's should be.
#[derive(Clone, Copy)]
pub(crate) enum Target {
    /// Of rates.
    AtLeast(f64),
    /// Of times.
    AtMost(f64),
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AtLeast(ratio) => write!(f, ">= {ratio:.2}"),
            Self::AtMost(ratio) => write!(f, "<= {ratio:.2}"),
        }
    }
}

/// One comparison: rates or times of the yardstick and of ours, measured in turns.
pub(crate) struct Comparison {
    /// The key in the JSON line.
    pub(crate) key: &'static str,
    /// What is compared, for people.
    pub(crate) what: &'static str,
    /// The ratio that is wanted.
    pub(crate) target: Target,
    /// Answers a second, or microseconds: (yardstick, ours), a pair for each turn.
    pub(crate) pairs: Vec<(f64, f64)>,
}

impl Comparison {
    fn ratio(&self) -> f64 {
        median(self.pairs.iter().map(|(yardstick, ours)| ours / yardstick))
    }
}

/// Prints all comparisons.
pub(crate) fn print(comparisons: &[Comparison]) {
    println!("{:<66} {:>12} {:>12} {:>7} {:>8}", "median of the turns", "yardstick", "ours", "ratio", "target");
    for comparison in comparisons {
        println!(
            "{:<66} {:>12.0} {:>12.0} {:>7.3} {:>8}",
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
