//! Families as text: Prometheus' format 0.0.4 and `OpenMetrics` 1.0. The prometheus crate writes the first alone, at a third
//! of the speed, and panics at a type that it does not know.
//!
//! What must always hold: whoever scrapes can read all of it; a family that makes no sense is an error, not nonsense.

use std::fmt::{self, Write as _};

use prometheus::proto::{Metric, MetricFamily, MetricType};

/// How families are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// Prometheus' text format.
    Text,
    /// Text of the standard made of it.
    OpenMetrics,
}

impl Format {
    /// The media type.
    pub(super) const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// A family that cannot be shown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the family {name:?} cannot be shown: expected a name, a known type and a series")]
pub(super) struct Malformed {
    name: String,
}

/// All `families`, which are counters, gauges and histograms.
pub(super) fn encode(families: &[MetricFamily], format: Format) -> Result<String, Malformed> {
    let mut encoder = Encoder { text: String::new(), labels: String::new(), format };
    for family in families {
        encoder.family(family).ok_or_else(|| Malformed { name: family.name().into() })?;
    }
    if format == Format::OpenMetrics {
        encoder.text.push_str("# EOF\n");
    }
    Ok(encoder.text)
}

struct Encoder {
    text: String,
    /// Of the series that is being written: `a="1",b="2"`.
    labels: String,
    format: Format,
}

impl Encoder {
    fn family(&mut self, family: &MetricFamily) -> Option<()> {
        let kind = family.get_field_type();
        if family.name().is_empty() || family.get_metric().is_empty() {
            return None;
        }
        self.header(family, kind)?;
        for metric in family.get_metric() {
            self.take_labels(metric);
            match kind {
                MetricType::COUNTER => self.sample(family.name(), "", None, metric.get_counter().value()),
                MetricType::GAUGE => self.sample(family.name(), "", None, metric.get_gauge().value()),
                MetricType::HISTOGRAM => self.histogram(family.name(), metric),
                MetricType::SUMMARY | MetricType::UNTYPED => return None,
            }
        }
        Some(())
    }

    fn header(&mut self, family: &MetricFamily, kind: MetricType) -> Option<()> {
        let mut name = family.name();
        let mut kind = match kind {
            MetricType::COUNTER => "counter",
            MetricType::GAUGE => "gauge",
            MetricType::HISTOGRAM => "histogram",
            MetricType::SUMMARY | MetricType::UNTYPED => return None,
        };
        // A counter's samples end in `_total`, its family does not; one that is spelt otherwise is of no known type.
        if self.format == Format::OpenMetrics && kind == "counter" {
            match name.strip_suffix("_total") {
                Some(family) => name = family,
                None => kind = "unknown",
            }
        }
        self.line("# TYPE ", name, |text, _| text.push_str(kind));
        if !family.help().is_empty() {
            // Only the standard has quotes escaped here.
            self.line("# HELP ", name, |text, format| escape(text, family.help(), format == Format::OpenMetrics));
        }
        Some(())
    }

    fn line(&mut self, start: &str, name: &str, rest: impl FnOnce(&mut String, Format)) {
        self.text.push_str(start);
        self.text.push_str(name);
        self.text.push(' ');
        rest(&mut self.text, self.format);
        self.text.push('\n');
    }

    fn take_labels(&mut self, metric: &Metric) {
        self.labels.clear();
        for label in metric.get_label() {
            if !self.labels.is_empty() {
                self.labels.push(',');
            }
            self.labels.push_str(label.name());
            self.labels.push_str("=\"");
            escape(&mut self.labels, label.value(), true);
            self.labels.push('"');
        }
    }

    fn histogram(&mut self, name: &str, metric: &Metric) {
        let histogram = metric.get_histogram();
        for counted in histogram.get_bucket().iter().filter(|counted| counted.upper_bound().is_finite()) {
            self.sample(name, "_bucket", Some(counted.upper_bound()), as_float(counted.cumulative_count()));
        }
        let count = as_float(histogram.get_sample_count());
        self.sample(name, "_bucket", Some(f64::INFINITY), count);
        self.sample(name, "_sum", None, histogram.get_sample_sum());
        self.sample(name, "_count", None, count);
    }

    fn sample(&mut self, name: &str, suffix: &str, bound: Option<f64>, value: f64) {
        let Self { text, labels, format } = self;
        text.push_str(name);
        text.push_str(suffix);
        if !labels.is_empty() || bound.is_some() {
            text.push('{');
            text.push_str(labels);
            if let Some(bound) = bound {
                text.push_str(if labels.is_empty() { "le=\"" } else { ",le=\"" });
                push_number(text, bound, *format);
                text.push('"');
            }
            text.push('}');
        }
        text.push(' ');
        push_number(text, value, *format);
        text.push('\n');
    }
}

#[expect(clippy::cast_precision_loss, reason = "every value of the format is a double")]
fn as_float(count: u64) -> f64 {
    count as f64
}

/// In the format's spelling: in the standard, whole numbers have a fraction too.
fn push_number(text: &mut String, number: f64, format: Format) {
    /// Below this every whole number is a double, and its digits are those of an integer.
    const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;
    if number.fract() == 0.0 && number.abs() < WHOLE_MAX {
        #[expect(clippy::cast_possible_truncation, reason = "it is whole, and small enough")]
        push(text, format_args!("{}", number as i64));
        if format == Format::OpenMetrics {
            text.push_str(".0");
        }
    } else if number.is_nan() {
        text.push_str("NaN");
    } else if number.is_infinite() {
        text.push_str(if number > 0.0 { "+Inf" } else { "-Inf" });
    } else {
        push(text, format_args!("{number:?}"));
    }
}

fn push(text: &mut String, arguments: fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = text.write_fmt(arguments);
}

/// A help text or a label's value.
fn escape(text: &mut String, plain: &str, quotes: bool) {
    let is_special = |byte: u8| byte == b'\\' || byte == b'\n' || byte == b'"' && quotes;
    if !plain.bytes().any(is_special) {
        return text.push_str(plain);
    }
    for character in plain.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '"' if quotes => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            other => text.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use prometheus::{Gauge, Histogram, HistogramOpts, IntCounter, IntGauge, Opts, TextEncoder};

    use super::*;
    use crate::registry::Registry;

    /// Something of everything.
    fn families() -> Vec<MetricFamily> {
        let registry = Registry::new();
        let counter = IntCounter::with_opts(Opts::new("kiam_a_total", "A \"b\"\n\\c").const_label("x", "\"y\"\n\\"));
        let counter = counter.unwrap();
        counter.inc();
        let histogram =
            Histogram::with_opts(HistogramOpts::new("kiam_b_seconds", "B").buckets(vec![0.5, 1.0])).unwrap();
        histogram.observe(0.75);
        let labelled = HistogramOpts::new("kiam_e_seconds", "E").const_label("y", "z").buckets(vec![1.0]);
        let odd = IntCounter::new("kiam_c", "C").unwrap();
        let gauge = IntGauge::new("kiam_d", "D").unwrap();
        gauge.set(-2);
        let collectors: [Box<dyn prometheus::core::Collector>; 5] = [
            Box::new(counter),
            Box::new(histogram),
            Box::new(odd),
            Box::new(gauge),
            Box::new(Histogram::with_opts(labelled).unwrap()),
        ];
        for collector in collectors {
            registry.register(collector).unwrap();
        }
        registry.gather()
    }

    #[test]
    fn families_are_written_as_the_specification_of_openmetrics_has_them() {
        let expected = [
            r"# TYPE kiam_a counter",
            r#"# HELP kiam_a A \"b\"\n\\c"#,
            r#"kiam_a_total{x="\"y\"\n\\"} 1.0"#,
            "# TYPE kiam_b_seconds histogram",
            "# HELP kiam_b_seconds B",
            r#"kiam_b_seconds_bucket{le="0.5"} 0.0"#,
            r#"kiam_b_seconds_bucket{le="1.0"} 1.0"#,
            r#"kiam_b_seconds_bucket{le="+Inf"} 1.0"#,
            "kiam_b_seconds_sum 0.75",
            "kiam_b_seconds_count 1.0",
            "# TYPE kiam_c unknown",
            "# HELP kiam_c C",
            "kiam_c 0.0",
            "# TYPE kiam_d gauge",
            "# HELP kiam_d D",
            "kiam_d -2.0",
            "# TYPE kiam_e_seconds histogram",
            "# HELP kiam_e_seconds E",
            r#"kiam_e_seconds_bucket{y="z",le="1.0"} 0.0"#,
            r#"kiam_e_seconds_bucket{y="z",le="+Inf"} 0.0"#,
            r#"kiam_e_seconds_sum{y="z"} 0.0"#,
            r#"kiam_e_seconds_count{y="z"} 0.0"#,
            "# EOF",
        ];
        assert_eq!(encode(&families(), Format::OpenMetrics).unwrap().lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn prometheus_text_says_what_the_prometheus_crate_says() {
        let sorted = |text: &str| {
            let mut lines: Vec<String> = text.lines().map(Into::into).collect();
            lines.sort();
            lines
        };
        let theirs = TextEncoder::new().encode_to_string(&families()).unwrap();
        assert_eq!(sorted(&encode(&families(), Format::Text).unwrap()), sorted(&theirs));
    }

    #[test]
    fn numbers_are_spelt_so_that_they_can_be_read() {
        for (number, text, standard) in [
            (0.0, "0", "0.0"),
            (-7.0, "-7", "-7.0"),
            (0.1, "0.1", "0.1"),
            (9_007_199_254_740_991.0, "9007199254740991", "9007199254740991.0"),
            (9_007_199_254_740_992.0, "9007199254740992.0", "9007199254740992.0"),
            (1e300, "1e300", "1e300"),
            (f64::NAN, "NaN", "NaN"),
            (f64::INFINITY, "+Inf", "+Inf"),
            (f64::NEG_INFINITY, "-Inf", "-Inf"),
        ] {
            for (format, expected) in [(Format::Text, text), (Format::OpenMetrics, standard)] {
                let gauge = Gauge::new("kiam_d", "D").unwrap();
                gauge.set(number);
                let written = encode(&prometheus::core::Collector::collect(&gauge), format).unwrap();
                assert!(written.contains(&format!("\nkiam_d {expected}\n")), "{written}");
            }
        }
    }

    #[test]
    fn a_family_that_makes_no_sense_is_an_error() {
        let [mut nameless, mut empty, mut untyped]: [MetricFamily; 3] =
            std::array::from_fn(|_| families().swap_remove(3));
        nameless.set_name(String::new());
        empty.set_metric(Vec::new());
        untyped.set_field_type(MetricType::UNTYPED);
        for wrong in [nameless, empty, untyped] {
            for format in [Format::Text, Format::OpenMetrics] {
                let error = encode(std::slice::from_ref(&wrong), format).unwrap_err();
                assert!(error.to_string().contains("expected"), "{error}");
            }
        }
    }
}
