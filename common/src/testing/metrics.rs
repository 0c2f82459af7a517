//! Reading `/metrics` in tests.

/// The value of one sample in Prometheus's text format. `series` is spelt as there, its labels in the same order:
/// `grpc_server_started_total{grpc_method="GetHealth",…}`.
pub fn value(text: &str, series: &str) -> Option<f64> {
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let (_, value) = samples.filter_map(|line| line.rsplit_once(' ')).find(|(name, _)| *name == series)?;
    value.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::value;

    #[test]
    fn a_sample_is_found_by_its_whole_name() {
        let text = "# HELP a 1\na_total 7\na_total{code=\"x y\"} 2.5\n";
        assert_eq!(value(text, "a_total"), Some(7.0));
        assert_eq!(value(text, "a_total{code=\"x y\"}"), Some(2.5));
        assert_eq!(value(text, "a"), None);
    }
}
