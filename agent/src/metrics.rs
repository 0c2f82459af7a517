//! What the agent counts about the requests of pods. Kiam's series keep their names, labels and buckets. Created
//! in `app.rs`, counted in `http/mod.rs`.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use kiam_common::reason::Reason;
use kiam_common::registry::Registry;
use prometheus::{
    Histogram, HistogramOpts, HistogramTimer, HistogramVec, IntCounter, IntCounterVec, Opts, exponential_buckets,
};

use crate::error::Error;
use crate::http::error::{OWN_CODES, code};
use crate::http::rejection::Rejection;
use crate::intercept::metrics::Arrivals;

/// From a call on the same machine to the longest that a pod waits, in seconds.
const WAIT_BUCKETS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

/// What answered a request: the `handler` label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Handler {
    /// The lists of credentials, which hold the role's name.
    RoleName,
    /// A role's credentials.
    Credentials,
    /// `/health`.
    Health,
    /// Everything that only the instance metadata service could answer.
    Proxy,
    /// `/ping`.
    Ping,
    /// Session tokens.
    Token,
    /// Requests that are refused before any route is looked at, or for their method.
    Guard,
}

impl Handler {
    const ALL: [Self; 7] =
        [Self::RoleName, Self::Credentials, Self::Health, Self::Proxy, Self::Ping, Self::Token, Self::Guard];

    const fn label(self) -> &'static str {
        match self {
            Self::RoleName => "roleName",
            Self::Credentials => "credentials",
            Self::Health => "health",
            Self::Proxy => "proxy",
            Self::Ping => "ping",
            Self::Token => "token",
            Self::Guard => "guard",
        }
    }
}

/// Who had the answer to a pod's request for its role or credentials: the `from` label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The agent itself.
    Ledger,
    /// A server, by a call.
    Server,
}

/// The statuses that the agent gives by itself, present at 0 from the start.
const STATUSES: [&str; 13] =
    ["200", "301", "400", "401", "403", "404", "405", "409", "429", "500", "502", "503", "504"];

/// The series that every answer touches, looked up once for each handler.
struct Answers {
    latency: Histogram,
    success: IntCounter,
    ok: IntCounter,
}

/// The agent's metrics.
pub(crate) struct Metrics {
    answers: [Answers; Handler::ALL.len()],
    responses: IntCounterVec,
    refused: IntCounterVec,
    rejected: IntCounterVec,
    server_wait: HistogramVec,
    from_ledger: IntCounter,
    from_server: IntCounter,
    without_token: IntCounter,
    with_token: IntCounter,
    /// Requests whose pod was chosen by `?ip=`.
    pub(crate) ip_query: IntCounter,
    /// Lookups of a pod's role that failed.
    pub(crate) find_role_errors: IntCounter,
    /// Pods that have no role.
    pub(crate) empty_role: IntCounter,
    /// Credentials that the server did not give.
    pub(crate) credential_fetch_errors: IntCounter,
    /// Credentials that could not be made into a document.
    pub(crate) credential_encode_errors: IntCounter,
    /// Requests that were not passed on to the instance metadata service.
    pub(crate) proxy_blocked: IntCounter,
    /// Connections, by the way they came.
    pub(crate) arrivals: Arc<Arrivals>,
}

impl Metrics {
    /// Registers every series, at 0.
    pub(crate) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let counters = |name: &str, help: &str, labels: &[&str]| {
            let counters = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(counters.clone()))?;
            prometheus::Result::Ok(counters)
        };
        let of = |handler: Handler, name: &str, help: &str| {
            counters(name, help, &["handler"])?.get_metric_with_label_values(&[handler.label()])
        };
        let success =
            counters("kiam_metadata_success_total", "Requests answered with what they asked for", &["handler"])?;
        let responses = counters("kiam_metadata_responses_total", "Answers by status code", &["handler", "code"])?;
        let refused = counters("kiam_metadata_refused_total", "Requests refused, by reason", &["reason"])?;
        at_zero(&refused, Reason::ALL.into_iter().map(Reason::as_str).chain(OWN_CODES))?;
        let rejected = counters("kiam_requests_rejected_total", "Requests refused, by kind of reason", &["reason"])?;
        at_zero(&rejected, Rejection::ALL.into_iter().map(Rejection::label))?;
        let help = "Requests for roles and credentials, by who had the answer";
        let sources = counters("kiam_ledger_answers_total", help, &["from"])?;
        let versions = counters(
            "kiam_metadata_requests_by_version_total",
            "Requests for metadata without a session token (v1) and with one (v2)",
            &["version"],
        )?;
        let counter = |name: &str, help: &str| {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            prometheus::Result::Ok(counter)
        };
        Ok(Self {
            answers: answers(registry, &success, &responses)?,
            find_role_errors: of(
                Handler::RoleName,
                "kiam_metadata_find_role_errors_total",
                "Lookups of a pod's role that failed",
            )?,
            empty_role: of(Handler::RoleName, "kiam_metadata_empty_role_total", "Pods found to have no role")?,
            credential_fetch_errors: of(
                Handler::Credentials,
                "kiam_metadata_credential_fetch_errors_total",
                "Credentials that could not be had from the server",
            )?,
            credential_encode_errors: of(
                Handler::Credentials,
                "kiam_metadata_credential_encode_errors_total",
                "Credentials that could not be made into a document",
            )?,
            proxy_blocked: counter(
                "kiam_metadata_proxy_requests_blocked_total",
                "Requests that were not passed on to the instance metadata service",
            )?,
            ip_query: counter("kiam_metadata_ip_query_total", "Requests whose pod was chosen by ?ip=")?,
            without_token: versions.get_metric_with_label_values(&["v1"])?,
            with_token: versions.get_metric_with_label_values(&["v2"])?,
            arrivals: Arc::new(Arrivals::new(registry)?),
            responses,
            refused,
            rejected,
            server_wait: server_wait(registry)?,
            from_ledger: sources.with_label_values(&["ledger"]),
            from_server: sources.with_label_values(&["server"]),
        })
    }

    /// Counts an answer.
    pub(crate) fn answered(&self, handler: Handler, status: StatusCode, took: Duration) {
        let Some(answers) = self.answers.get(handler as usize) else {
            return;
        };
        answers.latency.observe(took.as_secs_f64());
        if status == StatusCode::OK {
            answers.ok.inc();
        } else {
            self.responses.with_label_values(&[handler.label(), status.as_str()]).inc();
        }
        if !status.is_client_error() && !status.is_server_error() {
            answers.success.inc();
        }
    }

    /// Counts where an answer, refusals included, came from.
    pub(crate) fn answered_from(&self, source: Source) {
        match source {
            Source::Ledger => self.from_ledger.inc(),
            Source::Server => self.from_server.inc(),
        }
    }

    /// How many requests were answered.
    pub(crate) fn requests(&self) -> u64 {
        self.answers.iter().map(|answers| answers.latency.get_sample_count()).sum()
    }

    /// Counts a request for metadata by what it says of a session.
    pub(crate) fn asked(&self, has_token: bool) {
        if has_token { &self.with_token } else { &self.without_token }.inc();
    }

    /// Counts a refusal by its code and by its kind.
    pub(crate) fn refused(&self, error: &Error) {
        self.refused.with_label_values(&[code(error)]).inc();
        self.rejected(Rejection::of(error), 1);
    }

    /// Counts requests that the agent's end left without an answer.
    pub(crate) fn cut_off(&self, requests: usize) {
        self.rejected(Rejection::ShuttingDown, requests);
    }

    fn rejected(&self, rejection: Rejection, requests: usize) {
        self.rejected.with_label_values(&[rejection.label()]).inc_by(u64::try_from(requests).unwrap_or(u64::MAX));
    }

    /// A request waits for a server until what this returns is dropped.
    pub(crate) fn waiting(&self, handler: Handler) -> HistogramTimer {
        self.server_wait.with_label_values(&[handler.label()]).start_timer()
    }
}

/// Makes the series with each of these labels appear before anything is counted.
fn at_zero<'a>(counters: &IntCounterVec, labels: impl IntoIterator<Item = &'a str>) -> prometheus::Result<()> {
    labels.into_iter().try_for_each(|label| counters.get_metric_with_label_values(&[label]).map(drop))
}

fn server_wait(registry: &Registry) -> prometheus::Result<HistogramVec> {
    let help = "Time that requests which the agent could not answer at once waited for a server";
    let opts = HistogramOpts::new("kiam_metadata_server_wait_seconds", help).buckets(WAIT_BUCKETS.to_vec());
    let waits = HistogramVec::new(opts, &["handler"])?;
    registry.register(Box::new(waits.clone()))?;
    for handler in [Handler::RoleName, Handler::Credentials] {
        waits.get_metric_with_label_values(&[handler.label()])?;
    }
    Ok(waits)
}

fn answers(
    registry: &Registry,
    success: &IntCounterVec,
    responses: &IntCounterVec,
) -> prometheus::Result<[Answers; Handler::ALL.len()]> {
    let help = "Time from a request's head to its answer";
    let opts =
        HistogramOpts::new("kiam_metadata_handler_latency_seconds", help).buckets(exponential_buckets(0.001, 2.0, 13)?);
    let latency = HistogramVec::new(opts, &["handler"])?;
    registry.register(Box::new(latency.clone()))?;
    for (handler, status) in Handler::ALL.iter().flat_map(|handler| STATUSES.map(|status| (handler, status))) {
        responses.get_metric_with_label_values(&[handler.label(), status])?;
    }
    Ok(Handler::ALL.map(|handler| Answers {
        latency: latency.with_label_values(&[handler.label()]),
        success: success.with_label_values(&[handler.label()]),
        ok: responses.with_label_values(&[handler.label(), "200"]),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics() -> (Metrics, Registry) {
        let registry = Registry::new();
        (Metrics::new(&registry).unwrap(), registry)
    }

    fn text(registry: &Registry) -> String {
        prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap()
    }

    #[test]
    fn every_series_of_the_contract_is_there_at_zero() {
        let (_metrics, registry) = metrics();
        let text = text(&registry);
        for series in [
            r#"kiam_metadata_handler_latency_seconds_bucket{handler="credentials",le="0.001"} 0"#,
            r#"kiam_metadata_handler_latency_seconds_bucket{handler="credentials",le="4.096"} 0"#,
            r#"kiam_metadata_handler_latency_seconds_count{handler="roleName"} 0"#,
            r#"kiam_metadata_credential_fetch_errors_total{handler="credentials"} 0"#,
            r#"kiam_metadata_credential_encode_errors_total{handler="credentials"} 0"#,
            r#"kiam_metadata_find_role_errors_total{handler="roleName"} 0"#,
            r#"kiam_metadata_empty_role_total{handler="roleName"} 0"#,
            r#"kiam_metadata_success_total{handler="credentials"} 0"#,
            r#"kiam_metadata_responses_total{code="200",handler="health"} 0"#,
            r#"kiam_metadata_responses_total{code="404",handler="proxy"} 0"#,
            "kiam_metadata_proxy_requests_blocked_total 0",
            "kiam_metadata_ip_query_total 0",
            r#"kiam_metadata_requests_by_version_total{version="v1"} 0"#,
            r#"kiam_metadata_requests_by_version_total{version="v2"} 0"#,
            r#"kiam_metadata_refused_total{reason="TooManyConnections"} 0"#,
            r#"kiam_metadata_refused_total{reason="Forbidden"} 0"#,
            r#"kiam_requests_rejected_total{reason="over_capacity"} 0"#,
            r#"kiam_requests_rejected_total{reason="shutting_down"} 0"#,
            r#"kiam_metadata_server_wait_seconds_count{handler="roleName"} 0"#,
            r#"kiam_metadata_server_wait_seconds_bucket{handler="credentials",le="5"} 0"#,
        ] {
            assert!(text.contains(series), "{series} in\n{text}");
        }
    }

    #[test]
    fn answers_are_counted_by_handler_and_status() {
        let (metrics, registry) = metrics();
        metrics.answered(Handler::Credentials, StatusCode::OK, Duration::from_micros(1500));
        metrics.answered(Handler::Credentials, StatusCode::NOT_FOUND, Duration::from_secs(5));
        let text = text(&registry);
        for series in [
            r#"kiam_metadata_handler_latency_seconds_bucket{handler="credentials",le="0.002"} 1"#,
            r#"kiam_metadata_handler_latency_seconds_count{handler="credentials"} 2"#,
            r#"kiam_metadata_success_total{handler="credentials"} 1"#,
            r#"kiam_metadata_responses_total{code="200",handler="credentials"} 1"#,
            r#"kiam_metadata_responses_total{code="404",handler="credentials"} 1"#,
        ] {
            assert!(text.contains(series), "{series} in\n{text}");
        }
    }
}
