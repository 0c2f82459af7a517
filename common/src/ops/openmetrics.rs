//! The text format of `OpenMetrics` 1.0, which the prometheus crate does not write.

use std::fmt::{self, Write as _};

use prometheus::proto::{Metric, MetricFamily, MetricType};

/// The media type.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All `families`, which are counters, gauges and histograms.
pub(super) fn encode(families: &[MetricFamily]) -> String {
    let mut text = String::new();
    for family in families {
        // Writing to a string cannot fail.
        let _ = write_family(&mut text, family);
    }
    text.push_str("# EOF\n");
    text
}

fn write_family(text: &mut String, family: &MetricFamily) -> fmt::Result {
    let (name, kind) = match family.get_field_type() {
        // A counter's samples end in `_total`, its family does not; one that is spelt otherwise is of no known type.
        MetricType::COUNTER => match family.name().strip_suffix("_total") {
            Some(name) => (name, "counter"),
            None => (family.name(), "unknown"),
        },
        MetricType::GAUGE => (family.name(), "gauge"),
        MetricType::HISTOGRAM => (family.name(), "histogram"),
        MetricType::SUMMARY | MetricType::UNTYPED => (family.name(), "unknown"),
    };
    writeln!(text, "# TYPE {name} {kind}")?;
    if !family.help().is_empty() {
        writeln!(text, "# HELP {name} {}", Escaped(family.help()))?;
    }
    for metric in family.get_metric() {
        match family.get_field_type() {
            MetricType::COUNTER => sample(text, family.name(), metric, None, metric.get_counter().value())?,
            MetricType::GAUGE => sample(text, name, metric, None, metric.get_gauge().value())?,
            MetricType::HISTOGRAM => write_histogram(text, name, metric)?,
            MetricType::SUMMARY | MetricType::UNTYPED => {}
        }
    }
    Ok(())
}

fn write_histogram(text: &mut String, name: &str, metric: &Metric) -> fmt::Result {
    let histogram = metric.get_histogram();
    let bucket = format!("{name}_bucket");
    for counted in histogram.get_bucket().iter().filter(|counted| counted.upper_bound().is_finite()) {
        sample(text, &bucket, metric, Some(counted.upper_bound()), as_float(counted.cumulative_count()))?;
    }
    let count = as_float(histogram.get_sample_count());
    sample(text, &bucket, metric, Some(f64::INFINITY), count)?;
    sample(text, &format!("{name}_count"), metric, None, count)?;
    sample(text, &format!("{name}_sum"), metric, None, histogram.get_sample_sum())
}

fn sample(text: &mut String, name: &str, metric: &Metric, bound: Option<f64>, value: f64) -> fmt::Result {
    text.push_str(name);
    let mut separator = '{';
    for label in metric.get_label() {
        write!(text, "{separator}{}=\"{}\"", label.name(), Escaped(label.value()))?;
        separator = ',';
    }
    if let Some(bound) = bound {
        write!(text, "{separator}le=\"{}\"", Number(bound))?;
        separator = ',';
    }
    if separator == ',' {
        text.push('}');
    }
    writeln!(text, " {}", Number(value))
}

#[expect(clippy::cast_precision_loss, reason = "every value of the format is a double")]
fn as_float(count: u64) -> f64 {
    count as f64
}

/// A number in the format's spelling: whole ones have a fraction too.
struct Number(f64);

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            number if number.is_nan() => f.write_str("NaN"),
            number if number.is_infinite() => f.write_str(if number > 0.0 { "+Inf" } else { "-Inf" }),
            number => write!(f, "{number:?}"),
        }
    }
}

/// A help text or a label's value.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use prometheus::{Histogram, HistogramOpts, IntCounter, IntGauge, Opts, Registry};

    use super::*;

    #[test]
    fn families_are_written_as_the_specification_has_them() {
        let registry = Registry::new();
        let counter = IntCounter::with_opts(Opts::new("kiam_a_total", "A \"b\"\n\\c").const_label("x", "\"y\"\n"));
        let counter = counter.unwrap();
        counter.inc();
        let histogram =
            Histogram::with_opts(HistogramOpts::new("kiam_b_seconds", "B").buckets(vec![0.5, 1.0])).unwrap();
        histogram.observe(0.75);
        let odd = IntCounter::new("kiam_c", "C").unwrap();
        let gauge = IntGauge::new("kiam_d", "D").unwrap();
        gauge.set(-2);
        registry.register(Box::new(counter)).unwrap();
        registry.register(Box::new(histogram)).unwrap();
        registry.register(Box::new(odd)).unwrap();
        registry.register(Box::new(gauge)).unwrap();
        let expected = [
            r"# TYPE kiam_a counter",
            r#"# HELP kiam_a A \"b\"\n\\c"#,
            r#"kiam_a_total{x="\"y\"\n"} 1.0"#,
            "# TYPE kiam_b_seconds histogram",
            "# HELP kiam_b_seconds B",
            r#"kiam_b_seconds_bucket{le="0.5"} 0.0"#,
            r#"kiam_b_seconds_bucket{le="1.0"} 1.0"#,
            r#"kiam_b_seconds_bucket{le="+Inf"} 1.0"#,
            "kiam_b_seconds_count 1.0",
            "kiam_b_seconds_sum 0.75",
            "# TYPE kiam_c unknown",
            "# HELP kiam_c C",
            "kiam_c 0.0",
            "# TYPE kiam_d gauge",
            "# HELP kiam_d D",
            "kiam_d -2.0",
            "# EOF",
        ];
        assert_eq!(encode(&registry.gather()).lines().collect::<Vec<_>>(), expected);
    }
}
