//! Adds the series of many agents up. What an agent says is checked: it may be of another version, or not be what it says.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::iter;

use kiam_proto::encoding::node::series::Value as WireValue;
use kiam_proto::encoding::node::{Family, Histogram, Label, MetricKind, Series};
use prometheus::proto::{LabelPair, Metric, MetricFamily};

use super::families;

/// Agents are left out once there are so many series: they need about 100 MB.
const SERIES_MAX: usize = 300_000;
/// Series of a family that go to another server in one message.
const PIECE: usize = 64;

/// Whose series are added.
#[derive(Clone, Copy, Debug)]
enum Source<'a> {
    /// The agent's of this node.
    Agent(&'a str),
    /// Those that another server has added up, or labelled, in the same way.
    Server,
}

/// The series of the agents so far.
#[derive(Debug)]
pub(super) struct Sum {
    per_node: bool,
    families: BTreeMap<String, Added>,
    series: usize,
}

/// A family of all agents.
#[derive(Debug)]
struct Added {
    help: String,
    kind: MetricKind,
    series: BTreeMap<Labels, WireValue>,
}

/// By name, each once.
type Labels = BTreeMap<String, String>;

impl Sum {
    /// Nothing yet. With `per_node` nothing is added up: each series has a label `node`.
    pub(super) fn new(per_node: bool) -> Self {
        Self { per_node, families: BTreeMap::new(), series: 0 }
    }

    /// Adds an agent's series; none of them, and `false`, if there are too many already.
    pub(super) fn add(&mut self, node: &str, families: Vec<Family>) -> bool {
        self.add_all(Source::Agent(node), families)
    }

    /// Adds series that another server, or this one, has summed; likewise.
    pub(super) fn add_summed(&mut self, families: Vec<Family>) -> bool {
        self.add_all(Source::Server, families)
    }

    fn add_all(&mut self, source: Source<'_>, families: Vec<Family>) -> bool {
        if self.series >= SERIES_MAX {
            return false;
        }
        for family in families {
            self.add_family(source, family);
        }
        true
    }

    fn add_family(&mut self, source: Source<'_>, family: Family) {
        let kind = family.kind();
        let adds_up = self.per_node || kind != MetricKind::Gauge || can_be_added(&family.name);
        if kind == MetricKind::Unspecified || !is_name(&family.name) || !adds_up {
            return;
        }
        let Family { name, help, series, .. } = family;
        let added = self.families.entry(name).or_insert_with(|| Added { help, kind, series: BTreeMap::new() });
        if added.kind != kind {
            return;
        }
        for series in series {
            let Some((mut labels, value)) = checked(series, kind, source) else { continue };
            if let (true, Source::Agent(node)) = (self.per_node, source) {
                labels.insert("node".into(), node.into());
            }
            match added.series.entry(labels) {
                Entry::Vacant(vacant) => {
                    vacant.insert(value);
                    self.series += 1;
                }
                Entry::Occupied(mut known) => add_to(known.get_mut(), value),
            }
        }
    }

    /// The families as another server takes them, each in pieces of a few series.
    pub(super) fn into_families(self) -> impl Iterator<Item = Family> {
        self.families.into_iter().flat_map(|(name, Added { help, kind, series })| {
            let mut series = series.into_iter().map(to_wire);
            let piece = move || {
                let series: Vec<Series> = series.by_ref().take(PIECE).collect();
                let family = Family { name: name.clone(), help: help.clone(), kind: kind.into(), series };
                (!family.series.is_empty()).then_some(family)
            };
            iter::from_fn(piece)
        })
    }

    /// The agents' series and the server's `own`. What both have tells the agents' apart by a label `component`.
    pub(super) fn with(self, own: Vec<MetricFamily>) -> Vec<MetricFamily> {
        let mut all: BTreeMap<String, MetricFamily> =
            own.into_iter().map(|family| (family.name().to_owned(), family)).collect();
        // A family without series cannot be shown.
        for (name, added) in self.families.into_iter().filter(|(_, added)| !added.series.is_empty()) {
            match all.entry(name) {
                Entry::Vacant(vacant) => {
                    let (name, kind) = (vacant.key().clone(), added.kind);
                    vacant.insert(families::family(name, added.help, kind, metrics(added.series, kind, None)));
                }
                Entry::Occupied(mut both) if both.get().get_field_type() == families::metric_type(added.kind) => {
                    let agents = metrics(added.series, added.kind, Some(("component", "agent")));
                    both.get_mut().mut_metric().extend(agents);
                }
                // Of another kind in another version: the server's own word counts.
                Entry::Occupied(_) => {}
            }
        }
        all.into_values().collect()
    }
}

/// Points in time, lengths of time and ratios mean nothing when they are added up.
fn can_be_added(gauge: &str) -> bool {
    !gauge.ends_with("_seconds") && !gauge.ends_with("_ratio")
}

/// A name of a family or a label, as Prometheus has them.
fn is_name(text: &str) -> bool {
    let is_sound = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    text.bytes().all(is_sound) && !text.is_empty() && !text.as_bytes().first().is_some_and(u8::is_ascii_digit)
}

fn to_wire((labels, value): (Labels, WireValue)) -> Series {
    let labels = labels.into_iter().map(|(name, value)| Label { name, value }).collect();
    Series { labels, value: Some(value) }
}

fn checked(series: Series, kind: MetricKind, source: Source<'_>) -> Option<(Labels, WireValue)> {
    let value = series.value?;
    if matches!(value, WireValue::Histogram(_)) != (kind == MetricKind::Histogram) {
        return None;
    }
    let given = series.labels.len();
    let labels: Labels = series.labels.into_iter().map(|label| (label.name, label.value)).collect();
    // Labels that tell agents apart, and agents from servers, are not for the agents to give.
    let may_give = |name: &str| match source {
        Source::Agent(_) => !["node", "component"].contains(&name),
        Source::Server => name != "component",
    };
    let are_sound = labels.keys().all(|name| is_name(name) && may_give(name));
    (are_sound && labels.len() == given).then_some((labels, value))
}

/// Adds one value to another; what does not fit is left out.
fn add_to(sum: &mut WireValue, value: WireValue) {
    match (sum, value) {
        (WireValue::Number(sum), WireValue::Number(value)) => *sum += value,
        (WireValue::Histogram(sum), WireValue::Histogram(value)) => add_histogram(sum, &value),
        (WireValue::Number(_), WireValue::Histogram(_)) | (WireValue::Histogram(_), WireValue::Number(_)) => {}
    }
}

fn add_histogram(sum: &mut Histogram, value: &Histogram) {
    let bounds = |histogram: &Histogram| histogram.buckets.iter().map(|b| b.upper_bound).collect::<Vec<_>>();
    if bounds(sum) != bounds(value) {
        return;
    }
    sum.count = sum.count.saturating_add(value.count);
    sum.sum += value.sum;
    for (sum, value) in sum.buckets.iter_mut().zip(&value.buckets) {
        sum.cumulative_count = sum.cumulative_count.saturating_add(value.cumulative_count);
    }
}

fn metrics(series: BTreeMap<Labels, WireValue>, kind: MetricKind, label: Option<(&str, &str)>) -> Vec<Metric> {
    let metric = |(mut labels, value): (Labels, WireValue)| {
        labels.extend(label.map(|(name, value)| (name.to_owned(), value.to_owned())));
        families::metric(labels.into_iter().map(|(name, value)| pair(name, value)).collect(), kind, &value)
    };
    series.into_iter().map(metric).collect()
}

fn pair(name: String, value: String) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name);
    pair.set_value(value);
    pair
}
