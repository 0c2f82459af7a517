//! The agent's series as a server is told of them, for its `/metrics?scope=fleet`: in pieces that are small enough for the
//! stream, which carries more important things.

use kiam_common::registry::Registry;
use kiam_proto::node::series::Value;
use kiam_proto::node::{Bucket, Family, Histogram, Label, MetricKind, Metrics, Series};
use prometheus::proto::{Metric, MetricFamily, MetricType};
use prost::Message as _;

/// About how large a piece gets, in bytes. A server takes twice as much.
const PIECE: usize = 8 * 1024;

/// All series, the last of the pieces marked. `id` is that of the request.
pub(crate) fn pieces(registry: &Registry, id: u64) -> Vec<Metrics> {
    let mut pieces = Pieces { id, done: Vec::new(), families: Vec::new(), bytes: 0 };
    for family in registry.gather() {
        let Some(kind) = kind(&family) else { continue };
        for metric in family.get_metric() {
            pieces.add(&family, kind, series(kind, metric));
        }
    }
    pieces.finish()
}

struct Pieces {
    id: u64,
    done: Vec<Metrics>,
    families: Vec<Family>,
    bytes: usize,
}

impl Pieces {
    fn add(&mut self, family: &MetricFamily, kind: MetricKind, series: Series) {
        let bytes = series.encoded_len();
        if self.bytes + bytes > PIECE {
            self.put_away(false);
        }
        if self.families.last().is_none_or(|last| last.name != family.name()) {
            let (name, help) = (family.name().to_owned(), family.help().to_owned());
            self.bytes += name.len() + help.len();
            self.families.push(Family { name, help, kind: kind.into(), series: Vec::new() });
        }
        self.bytes += bytes;
        if let Some(last) = self.families.last_mut() {
            last.series.push(series);
        }
    }

    fn put_away(&mut self, is_last: bool) {
        self.bytes = 0;
        self.done.push(Metrics { id: self.id, families: std::mem::take(&mut self.families), is_last });
    }

    fn finish(mut self) -> Vec<Metrics> {
        self.put_away(true);
        self.done
    }
}

fn kind(family: &MetricFamily) -> Option<MetricKind> {
    match family.get_field_type() {
        MetricType::COUNTER => Some(MetricKind::Counter),
        MetricType::GAUGE => Some(MetricKind::Gauge),
        MetricType::HISTOGRAM => Some(MetricKind::Histogram),
        MetricType::SUMMARY | MetricType::UNTYPED => None,
    }
}

fn series(kind: MetricKind, metric: &Metric) -> Series {
    let label = |pair: &prometheus::proto::LabelPair| Label { name: pair.name().into(), value: pair.value().into() };
    let value = match kind {
        MetricKind::Histogram => Value::Histogram(histogram(metric.get_histogram())),
        MetricKind::Counter => Value::Number(metric.get_counter().value()),
        MetricKind::Gauge | MetricKind::Unspecified => Value::Number(metric.get_gauge().value()),
    };
    Series { labels: metric.get_label().iter().map(label).collect(), value: Some(value) }
}

fn histogram(histogram: &prometheus::proto::Histogram) -> Histogram {
    let bucket = |bucket: &prometheus::proto::Bucket| Bucket {
        upper_bound: bucket.upper_bound(),
        cumulative_count: bucket.cumulative_count(),
    };
    Histogram {
        count: histogram.get_sample_count(),
        sum: histogram.get_sample_sum(),
        buckets: histogram.get_bucket().iter().map(bucket).collect(),
    }
}

#[cfg(test)]
mod tests {
    use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGauge, Opts};

    use super::*;

    #[test]
    fn every_series_is_in_one_of_the_pieces_each_of_which_the_stream_takes() {
        let registry = Registry::new();
        let counted = IntCounterVec::new(Opts::new("a_total", "A"), &["pod"]).unwrap();
        let timed = HistogramVec::new(HistogramOpts::new("b_seconds", "B"), &["handler"]).unwrap();
        let size = IntGauge::new("c", "C").unwrap();
        size.set(-3);
        for n in 0..500 {
            counted.with_label_values(&[&format!("pod-{n:0100}")]).inc_by(n);
        }
        timed.with_label_values(&["health"]).observe(0.2);
        registry.register(Box::new(counted)).unwrap();
        registry.register(Box::new(timed)).unwrap();
        registry.register(Box::new(size)).unwrap();
        let pieces = pieces(&registry, 7);
        assert!(pieces.len() > 5 && pieces.iter().all(|piece| piece.id == 7 && piece.encoded_len() < 2 * PIECE));
        let last: Vec<_> = pieces.iter().map(|piece| piece.is_last).collect();
        assert_eq!(last.iter().position(|last| *last), Some(pieces.len() - 1));
        let families: Vec<_> = pieces.iter().flat_map(|piece| &piece.families).collect();
        let of = |name: &'static str| {
            families.iter().filter(move |family| family.name == name).flat_map(|family| &family.series)
        };
        assert_eq!(of("a_total").count(), 500);
        assert_eq!(of("c").next().unwrap().value, Some(Value::Number(-3.0)));
        let Some(Value::Histogram(timed)) = &of("b_seconds").next().unwrap().value else { panic!("no histogram") };
        assert_eq!((timed.count, timed.buckets.len()), (1, 11));
    }
}
