//! The metrics of a program. The prometheus crate's registry judges what is registered; gathering is our own, as the crate
//! puts all series in order each time, which took a third of it.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use prometheus::core::{Collector, Desc};
use prometheus::proto::{LabelPair, Metric, MetricFamily};

/// Families of more series than this are left as they come, which is the same way each time: Prometheus needs no order,
/// and nobody reads so many lines.
const ORDERED_MAX: usize = 100;

/// What is registered is gathered, by whoever holds a clone.
#[derive(Clone, Default)]
pub struct Registry {
    judge: prometheus::Registry,
    collectors: Arc<RwLock<Vec<Box<dyn Collector>>>>,
}

impl Registry {
    /// With nothing in it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a collector in.
    ///
    /// # Errors
    /// If one of its families is there already, or is there with another help text or other labels.
    pub fn register(&self, collector: Box<dyn Collector>) -> Result<(), prometheus::Error> {
        self.judge.register(Box::new(Described(collector.desc().into_iter().cloned().collect())))?;
        self.collectors.write().unwrap_or_else(PoisonError::into_inner).push(collector);
        Ok(())
    }

    /// The families that have series, in the order of their names.
    pub fn gather(&self) -> Vec<MetricFamily> {
        let collectors = self.collectors.read().unwrap_or_else(PoisonError::into_inner);
        let mut families: Vec<_> = collectors.iter().flat_map(|collector| collector.collect()).collect();
        families.retain(|family| !family.get_metric().is_empty());
        families.sort_by(|one, other| one.name().cmp(other.name()));
        // Several collectors may have series of one family, told apart by constant labels.
        families.dedup_by(|next, family| {
            let is_same = next.name() == family.name();
            if is_same {
                family.mut_metric().append(next.mut_metric());
            }
            is_same
        });
        for family in families.iter_mut().filter(|family| family.get_metric().len() <= ORDERED_MAX) {
            family.mut_metric().sort_by(|one, other| values(one).cmp(values(other)));
        }
        families
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").finish_non_exhaustive()
    }
}

fn values(metric: &Metric) -> impl Iterator<Item = &str> {
    metric.get_label().iter().map(LabelPair::value)
}

/// What is judged of a collector.
struct Described(Vec<Desc>);

impl Collector for Described {
    fn desc(&self) -> Vec<&Desc> {
        self.0.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use prometheus::{IntCounter, IntGauge, IntGaugeVec, Opts};

    use super::*;

    fn said(registry: &Registry) -> Vec<String> {
        let lines = |family: &MetricFamily| {
            let lines = family.get_metric().iter().map(|metric| {
                let values: Vec<_> = values(metric).collect();
                format!("{} {} {}", family.name(), values.join(","), metric.get_gauge().value())
            });
            lines.collect::<Vec<_>>()
        };
        registry.gather().iter().flat_map(lines).collect()
    }

    fn of(color: &str) -> IntGauge {
        IntGauge::with_opts(Opts::new("kiam_b", "B").const_label("color", color)).unwrap()
    }

    #[test]
    fn families_come_in_order_once_each_with_the_series_of_all_collectors() {
        let registry = Registry::new();
        let vector = IntGaugeVec::new(Opts::new("kiam_c", "C"), &["x", "y"]).unwrap();
        let empty = IntGaugeVec::new(Opts::new("kiam_0", "Nothing"), &["x"]).unwrap();
        for (x, y) in [("b", "1"), ("a", "2"), ("a", "10")] {
            vector.with_label_values(&[x, y]).set(7);
        }
        let other = registry.clone();
        other.register(Box::new(vector)).unwrap();
        other.register(Box::new(of("red"))).unwrap();
        other.register(Box::new(empty)).unwrap();
        other.register(Box::new(IntGauge::new("kiam_a", "A").unwrap())).unwrap();
        other.register(Box::new(of("blue"))).unwrap();
        let expected = ["kiam_a  0", "kiam_b blue 0", "kiam_b red 0", "kiam_c a,10 7", "kiam_c a,2 7", "kiam_c b,1 7"];
        assert_eq!(said(&registry), expected);
    }

    #[test]
    fn large_families_come_whole_and_the_same_way_each_time() {
        let registry = Registry::new();
        let vector = IntGaugeVec::new(Opts::new("kiam_a", "A"), &["x"]).unwrap();
        for n in 0..1000 {
            vector.with_label_values(&[&n.to_string()]).set(n);
        }
        registry.register(Box::new(vector)).unwrap();
        let mut first = said(&registry);
        assert_eq!(said(&registry), first);
        first.sort();
        let mut expected: Vec<_> = (0..1000).map(|n| format!("kiam_a {n} {n}")).collect();
        expected.sort();
        assert_eq!(first, expected);
    }

    #[test]
    fn what_does_not_go_with_the_rest_is_refused() {
        let registry = Registry::new();
        registry.register(Box::new(of("red"))).unwrap();
        let again = registry.register(Box::new(of("red")));
        assert!(matches!(again, Err(prometheus::Error::AlreadyReg)), "{again:?}");
        let unlike = registry.register(Box::new(IntCounter::new("kiam_b", "Something else").unwrap()));
        assert!(unlike.unwrap_err().to_string().contains("kiam_b"));
        assert_eq!(said(&registry).len(), 1);
    }
}
