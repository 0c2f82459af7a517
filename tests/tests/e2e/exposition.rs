//! Reading the shape of a metric family out of a `/metrics` text.

use std::collections::BTreeSet;

/// What a scraper learns of a metric.
#[derive(Debug)]
pub(crate) struct Family<'m> {
    /// `counter`, `gauge` or `histogram`.
    pub(crate) kind: &'m str,
    /// The label names of its first sample, but for `le`.
    pub(crate) labels: BTreeSet<&'m str>,
    /// The upper bounds of its first series of buckets, but for infinity.
    pub(crate) buckets: Vec<f64>,
}

impl<'m> Family<'m> {
    /// Finds a family that has at least one sample.
    pub(crate) fn find(metrics: &'m str, name: &str) -> Option<Self> {
        let header = format!("# TYPE {name} ");
        let kind = metrics.lines().find_map(|line| line.strip_prefix(&header))?;
        let sample = if kind == "histogram" { format!("{name}_bucket") } else { name.to_owned() };
        let samples = metrics.lines().filter_map(|line| Some(Sample::read(line.strip_prefix(&sample)?)));
        let samples: Vec<Sample<'m>> = samples.flatten().collect();
        let first = samples.first()?;
        let of_first_series = samples.iter().filter(|sample| sample.without_le() == first.without_le());
        let buckets = of_first_series.filter_map(Sample::bound).filter(|bound| bound.is_finite()).collect();
        Some(Self { kind, labels: first.without_le().into_iter().map(|(name, _)| name).collect(), buckets })
    }
}

/// The labels of one sample.
#[derive(Debug)]
struct Sample<'m>(Vec<(&'m str, &'m str)>);

impl<'m> Sample<'m> {
    /// Reads what follows the name; nothing if the name goes on. No label value here has a comma or a quote in it.
    fn read(rest: &'m str) -> Option<Self> {
        let labels = match rest.strip_prefix('{') {
            Some(labels) => labels.split_once('}')?.0,
            None if rest.starts_with(' ') => "",
            None => return None,
        };
        let pairs = labels.split(',').filter_map(|pair| pair.split_once('='));
        Some(Self(pairs.map(|(name, value)| (name, value.trim_matches('"'))).collect()))
    }

    fn without_le(&self) -> Vec<(&'m str, &'m str)> {
        self.0.iter().copied().filter(|(name, _)| *name != "le").collect()
    }

    fn bound(&self) -> Option<f64> {
        self.0.iter().find(|(name, _)| *name == "le")?.1.parse().ok()
    }
}
