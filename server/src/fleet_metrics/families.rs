//! From the wire's series to those that are shown.

use kiam_proto::encoding::node::series::Value;
use kiam_proto::encoding::node::{self as wire, MetricKind};
use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType};

/// The type, as it is shown.
pub(super) fn metric_type(kind: MetricKind) -> MetricType {
    match kind {
        MetricKind::Counter => MetricType::COUNTER,
        MetricKind::Histogram => MetricType::HISTOGRAM,
        MetricKind::Gauge => MetricType::GAUGE,
        MetricKind::Unspecified => MetricType::UNTYPED,
    }
}

/// A family.
pub(super) fn family(name: String, help: String, kind: MetricKind, metrics: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name);
    family.set_help(help);
    family.set_field_type(metric_type(kind));
    family.set_metric(metrics);
    family
}

/// A series.
pub(super) fn metric(labels: Vec<LabelPair>, kind: MetricKind, value: &Value) -> Metric {
    let mut metric = Metric::from_label(labels);
    match value {
        Value::Number(number) if kind == MetricKind::Counter => {
            let mut counter = Counter::default();
            counter.set_value(*number);
            metric.set_counter(counter);
        }
        Value::Number(number) => {
            let mut gauge = Gauge::default();
            gauge.set_value(*number);
            metric.set_gauge(gauge);
        }
        Value::Histogram(value) => metric.set_histogram(histogram(value)),
    }
    metric
}

fn histogram(value: &wire::Histogram) -> Histogram {
    let bucket = |wire: &wire::Bucket| {
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(wire.upper_bound);
        bucket.set_cumulative_count(wire.cumulative_count);
        bucket
    };
    let mut histogram = Histogram::default();
    histogram.set_sample_count(value.count);
    histogram.set_sample_sum(value.sum);
    histogram.set_bucket(value.buckets.iter().map(bucket).collect());
    histogram
}
