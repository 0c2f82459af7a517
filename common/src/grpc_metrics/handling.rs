//! `grpc_server_handling_seconds`: how long the server's unary calls take, measured by `tonic_prometheus_layer`.
//!
//! Of what that crate counts, only this histogram is exported, and only unary methods of the descriptors pass
//! through it: there it is right, because a unary call is over when its response begins, and bounded. Its labels
//! become those of the rest of the family here. Its registry is one for the process; calls that are cancelled are
//! not in it.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::LazyLock;

use futures_util::future::Either;
use prometheus::core::{Collector, Desc};
use prometheus::exponential_buckets;
use prometheus::proto::{LabelPair, MetricFamily};
use tonic_prometheus_layer::MetricsFuture;
use tonic_prometheus_layer::metrics::{GlobalSettings, try_init_settings};

use crate::registry::Registry;

const NAME: &str = "grpc_server_handling_seconds";
const HELP: &str = "How long unary calls took on the server, in seconds, from their head to the head of the response.";

/// What the crate counts.
static COUNTED: LazyLock<prometheus::Registry> = LazyLock::new(|| {
    let settings = GlobalSettings {
        // The buckets of every histogram of the contract: 1 ms to 4 s.
        histogram_buckets: exponential_buckets(0.001, 2.0, 13).unwrap_or_default(),
        ..GlobalSettings::default()
    };
    let registry = settings.registry.clone();
    // Nothing else in the process uses the crate, so nobody can have been first.
    let _first = try_init_settings(settings);
    registry
});

/// The call that is timed, or not.
pub(super) type MaybeTimed<F> = Either<MetricsFuture<F>, F>;

/// A method whose calls are timed.
#[derive(Debug)]
pub(super) struct Timed {
    path: String,
    /// Where the method's name begins in the path, less one.
    separator: Option<NonZeroUsize>,
}

impl Timed {
    pub(super) fn new(path: &str) -> Self {
        Self { path: path.to_owned(), separator: path.rfind('/').and_then(NonZeroUsize::new) }
    }

    /// Times `call`.
    pub(super) fn time<F>(&self, call: F) -> MetricsFuture<F> {
        MetricsFuture::new("POST".to_owned(), self.path.clone(), self.separator, call)
    }
}

/// Exports the histogram in `registry`.
pub(super) fn register(registry: &Registry) -> Result<(), prometheus::Error> {
    LazyLock::force(&COUNTED);
    let labels = ["grpc_code", "grpc_method", "grpc_service", "grpc_type"].map(str::to_owned).to_vec();
    let desc = Desc::new(NAME.to_owned(), HELP.to_owned(), labels, HashMap::new())?;
    registry.register(Box::new(HandlingSeconds { desc }))
}

struct HandlingSeconds {
    desc: Desc,
}

impl Collector for HandlingSeconds {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut families = COUNTED.gather();
        families.retain(|family| family.name() == NAME);
        for family in &mut families {
            family.set_help(HELP.to_owned());
            for metric in family.mut_metric() {
                let labels = metric.get_label().iter().cloned().map(with_go_spelling).chain([grpc_type()]);
                metric.set_label(labels.collect());
            }
        }
        families
    }
}

fn grpc_type() -> LabelPair {
    let mut label = LabelPair::default();
    label.set_name("grpc_type".to_owned());
    label.set_value("unary".to_owned());
    label
}

fn with_go_spelling(mut label: LabelPair) -> LabelPair {
    if label.name() == "grpc_code" {
        label.set_value(go_spelling(label.value()));
    }
    label
}

/// Go's name of a code in the specification's spelling: `NotFound` of `NOT_FOUND`.
fn go_spelling(code: &str) -> String {
    match code {
        "OK" => "OK".to_owned(),
        "CANCELLED" => "Canceled".to_owned(),
        _ => code.split('_').map(capitalized).collect(),
    }
}

fn capitalized(word: &str) -> String {
    let (first, rest) = word.split_at_checked(1).unwrap_or_default();
    first.to_owned() + &rest.to_ascii_lowercase()
}
