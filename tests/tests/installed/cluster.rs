//! The API server that all of these tests share, with the kinds of cert-manager and the Prometheus operator.

use std::path::PathBuf;

use kiam_tests::real::helm::{Helm, chart};
use kiam_tests::real::kube_apiserver::KubeApiServer;
use kiam_tests::real::namespace::{Annotations, Namespace};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

/// Their definitions, as far as the manifests here use them.
const DEFINITIONS: &str = include_str!("crds.yaml");

/// A cluster and an operator's tools.
pub(crate) struct Cluster {
    pub(crate) kubernetes: KubeApiServer,
    pub(crate) helm: Helm,
}

/// The one of this test program.
pub(crate) async fn cluster() -> &'static Cluster {
    static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();
    CLUSTER.get_or_init(Cluster::start).await
}

impl Cluster {
    async fn start() -> Self {
        let kubernetes = KubeApiServer::start().await;
        kubernetes.feed_kubectl(&["apply"], DEFINITIONS).expect("sound definitions");
        kubernetes.kubectl(&["wait", "--for=condition=established", "--all", "customresourcedefinitions"]);
        let helm = Helm::new(&kubernetes);
        Self { kubernetes, helm }
    }

    /// A namespace of one test's own.
    pub(crate) async fn namespace(&self, annotations: Annotations<'_>) -> Namespace {
        Namespace::create(self.kubernetes.client().await.expect("the API server is there"), annotations).await
    }

    /// What the chart makes of these values, beside the two that it asks for; or why it makes nothing.
    pub(crate) fn template(&self, values: &Value) -> Result<String, String> {
        let chart = chart().display().to_string();
        let [asked, values] = self.files(values);
        self.helm.try_run(&["template", "kiam", &chart, "--namespace=default", "--values", &asked, "--values", &values])
    }

    /// `helm install` or `helm upgrade` with these values, beside the two that the chart asks for.
    pub(crate) fn deploy(&self, verb: &str, release: &str, namespace: &str, values: &Value) -> String {
        let chart = chart().display().to_string();
        let [asked, values] = self.files(values);
        self.helm.run(&[verb, release, &chart, "--namespace", namespace, "--values", &asked, "--values", &values])
    }

    fn files(&self, values: &Value) -> [String; 2] {
        let path = |path: PathBuf| path.display().to_string();
        [path(self.helm.values(&asked_for())), path(self.helm.values(values))]
    }

    /// Has the API server judge manifests as if they were applied, unknown fields included.
    #[track_caller]
    pub(crate) fn assert_taken(&self, what: &str, manifests: &str) {
        let judged = self.kubernetes.feed_kubectl(&["apply", "--dry-run=server", "--validate=strict"], manifests);
        judged.unwrap_or_else(|said| panic!("{what}: {said}"));
    }

    /// An object as JSON; null if there is none.
    pub(crate) fn get(&self, namespace: &str, object: &str) -> Value {
        let found = ["get", object, "--namespace", namespace, "--output=json", "--ignore-not-found"];
        serde_json::from_str(&self.kubernetes.kubectl(&found)).unwrap_or_default()
    }
}

/// The values without a default.
fn asked_for() -> Value {
    json!({
        "agent": {"host": {"interface": "cali+"}},
        "server": {"roleBaseArn": "arn:aws:iam::123456789012:role/"},
    })
}
