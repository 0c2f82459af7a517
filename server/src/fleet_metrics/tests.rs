//! What comes of the series of several agents.

use kiam_common::registry::Registry;
use kiam_proto::encoding::node::series::Value;
use kiam_proto::encoding::node::{Bucket, Family, Histogram, Label, MetricKind, Series};
use prometheus::{IntGauge, TextEncoder};

use super::sum::Sum;

fn series(labels: &[(&str, &str)], value: Value) -> Series {
    let label = |(name, value): &(&str, &str)| Label { name: (*name).into(), value: (*value).into() };
    Series { labels: labels.iter().map(label).collect(), value: Some(value) }
}

fn family(name: &str, kind: MetricKind, series: Vec<Series>) -> Family {
    Family { name: name.into(), help: "Help.".into(), kind: kind.into(), series }
}

fn number(name: &str, kind: MetricKind, labels: &[(&str, &str)], value: f64) -> Family {
    family(name, kind, vec![series(labels, Value::Number(value))])
}

fn histogram(counts: [u64; 2]) -> Family {
    let [below, count] = counts;
    let buckets = vec![Bucket { upper_bound: 0.5, cumulative_count: below }];
    let histogram = Histogram { count, sum: 0.25, buckets };
    family("kiam_b_seconds", MetricKind::Histogram, vec![series(&[], Value::Histogram(histogram))])
}

/// The samples of all, without comments.
fn shown(sum: Sum, own: &Registry) -> Vec<String> {
    let text = TextEncoder::new().encode_to_string(&sum.with(own.gather())).unwrap();
    text.lines().filter(|line| !line.starts_with('#')).map(Into::into).collect()
}

fn of_two(per_node: bool) -> Sum {
    let mut sum = Sum::new(per_node);
    for (node, value, counts) in [("node-a", 1.0, [1, 2]), ("node-b", 2.0, [3, 5])] {
        let added = sum.add(
            node,
            vec![
                number("kiam_a_total", MetricKind::Counter, &[("code", "200")], value),
                histogram(counts),
                number("kiam_c", MetricKind::Gauge, &[], value),
                number("kiam_d_expiry_seconds", MetricKind::Gauge, &[], value),
            ],
        );
        assert!(added);
    }
    sum
}

#[test]
fn counters_histograms_and_gauges_add_up_and_points_in_time_are_left_out() {
    assert_eq!(
        shown(of_two(false), &Registry::new()),
        [
            r#"kiam_a_total{code="200"} 3"#,
            r#"kiam_b_seconds_bucket{le="0.5"} 4"#,
            r#"kiam_b_seconds_bucket{le="+Inf"} 7"#,
            "kiam_b_seconds_sum 0.5",
            "kiam_b_seconds_count 7",
            "kiam_c 3",
        ]
    );
}

#[test]
fn for_each_node_every_series_is_shown_with_its_name() {
    let shown = shown(of_two(true), &Registry::new());
    for line in [
        r#"kiam_a_total{code="200",node="node-a"} 1"#,
        r#"kiam_a_total{code="200",node="node-b"} 2"#,
        r#"kiam_b_seconds_bucket{node="node-b",le="0.5"} 3"#,
        r#"kiam_d_expiry_seconds{node="node-b"} 2"#,
    ] {
        assert!(shown.iter().any(|known| known == line), "{line} in {shown:#?}");
    }
}

#[test]
fn what_the_server_shows_too_tells_the_two_apart() {
    let own = Registry::new();
    let memory = IntGauge::new("process_resident_memory_bytes", "Memory").unwrap();
    memory.set(7);
    own.register(Box::new(memory)).unwrap();
    let mut sum = Sum::new(false);
    for node in ["node-a", "node-b"] {
        sum.add(node, vec![number("process_resident_memory_bytes", MetricKind::Gauge, &[], 5.0)]);
    }
    assert_eq!(
        shown(sum, &own),
        ["process_resident_memory_bytes 7", r#"process_resident_memory_bytes{component="agent"} 10"#,]
    );
}

#[test]
fn what_makes_no_sense_is_left_out_and_spoils_nothing() {
    let mut sum = Sum::new(false);
    let good = || number("kiam_a_total", MetricKind::Counter, &[], 1.0);
    let forged = "kiam_x 1\nkiam_y";
    sum.add("node-a", vec![good(), histogram([1, 2])]);
    sum.add(
        "node-b",
        vec![
            number(forged, MetricKind::Counter, &[], 1.0),
            number("kiam_x_total", MetricKind::Counter, &[(forged, "v")], 1.0),
            number("kiam_x_total", MetricKind::Counter, &[("node", "node-a")], 1.0),
            number("kiam_x_total", MetricKind::Counter, &[("a", "1"), ("a", "2")], 1.0),
            number("kiam_a_total", MetricKind::Gauge, &[], 100.0),
            number("kiam_b_seconds", MetricKind::Histogram, &[], 100.0),
            number("kiam_x_total", MetricKind::Unspecified, &[], 1.0),
            good(),
        ],
    );
    let Some(Value::Histogram(mut other)) = histogram([1, 2]).series.remove(0).value else { unreachable!() };
    other.buckets[0].upper_bound = 0.7;
    sum.add(
        "node-c",
        vec![family("kiam_b_seconds", MetricKind::Histogram, vec![series(&[], Value::Histogram(other))])],
    );
    assert_eq!(
        shown(sum, &Registry::new()),
        [
            "kiam_a_total 2",
            r#"kiam_b_seconds_bucket{le="0.5"} 1"#,
            r#"kiam_b_seconds_bucket{le="+Inf"} 2"#,
            "kiam_b_seconds_sum 0.25",
            "kiam_b_seconds_count 2",
        ]
    );
}

#[test]
fn agents_beyond_what_memory_is_for_are_left_out() {
    let mut sum = Sum::new(true);
    let mut added = 0_u32;
    let many = || (0..1000).map(|n| series(&[("n", &n.to_string())], Value::Number(1.0))).collect();
    while sum.add(&format!("node-{added}"), vec![family("kiam_a_total", MetricKind::Counter, many())]) {
        added += 1;
    }
    assert_eq!(added, 300);
}

#[test]
fn what_servers_have_summed_is_summed_again_and_keeps_its_nodes() {
    for per_node in [false, true] {
        let (mut sum, mut other) = (of_two(per_node), Sum::new(per_node));
        other.add("node-c", vec![number("kiam_a_total", MetricKind::Counter, &[("code", "200")], 4.0)]);
        assert!(sum.add_summed(other.into_families().collect()));
        let line =
            if per_node { r#"kiam_a_total{code="200",node="node-c"} 4"# } else { r#"kiam_a_total{code="200"} 7"# };
        let shown = shown(sum, &Registry::new());
        assert!(shown.iter().any(|known| known == line), "{line} in {shown:#?}");
    }
    let mut sum = Sum::new(true);
    sum.add_summed(vec![number("kiam_a_total", MetricKind::Counter, &[("component", "server")], 1.0)]);
    assert_eq!(shown(sum, &Registry::new()), Vec::<String>::new());
}

#[test]
fn a_large_family_goes_to_another_server_in_pieces() {
    let mut sum = Sum::new(false);
    let many = (0..200).map(|n| series(&[("n", &n.to_string())], Value::Number(1.0))).collect();
    sum.add("node-a", vec![family("kiam_a_total", MetricKind::Counter, many)]);
    let pieces: Vec<usize> = sum.into_families().map(|family| family.series.len()).collect();
    assert_eq!(pieces, [64, 64, 64, 8]);
}
