//! Reading `/metrics` in tests.

/// The value of one sample in Prometheus's text format. `series` is spelt as there, its labels in the same order:
/// `grpc_server_started_total{grpc_method="GetHealth",…}`.
pub fn value(text: &str, series: &str) -> Option<f64> {
    sample(text, series)?.parse().ok()
}

/// The same of a sample that is a whole number, as counters are.
pub fn count(text: &str, series: &str) -> Option<i64> {
    sample(text, series)?.parse().ok()
}

fn sample<'a>(text: &'a str, series: &str) -> Option<&'a str> {
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    samples.filter_map(|line| line.rsplit_once(' ')).find(|(name, _)| *name == series).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_found_by_its_whole_name() {
        let text = "# HELP a 1\na_total 7\na_total{code=\"x y\"} 2.5\n";
        assert_eq!(value(text, "a_total"), Some(7.0));
        assert_eq!(value(text, "a_total{code=\"x y\"}"), Some(2.5));
        assert_eq!(value(text, "a"), None);
        assert_eq!(count(text, "a_total"), Some(7));
    }
}
