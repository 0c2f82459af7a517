//! The metadata port as pods see it: `routes` asks the front directly, `wire` and `limits` over loopback
//! connections.

mod ledger;
mod limits;
mod routes;
mod secrets;
mod series;
mod traces;
mod transcript;
mod wire;

use std::collections::HashMap;
use std::time::Duration;

use ::http::{Method, Request};
use http_body_util::BodyExt as _;
use kiam_common::clock::Clock;
use kiam_common::reason::{Reason, Refusal};
use kiam_common::registry::Registry;
use kiam_proto::kiam::Credentials;

use super::allowed::{AllowedRoutes, RouteExpression};
use super::peers::Limits;
use super::token::{Mint, Tokens};
use super::*;
use crate::ledger::Ledger;
use crate::ledger::fake::FakeNetwork;
use crate::metadata::fake::{FakeMetadata, Mode};
use crate::unary::fake::{FakeServer, Pod};

const POD: &str = "10.0.0.1";
const OTHER: &str = "10.0.0.2";
const LIST: &str = "/latest/meta-data/iam/security-credentials/";
const MAX_STALE: std::time::Duration = std::time::Duration::from_secs(10);
const SECRET: &str = "wJalrXUtnFEMI";
const SESSION_TOKEN: &str = "FQoGZXIvYXdzE";

/// A front, and all that is behind it.
struct Stand {
    front: Arc<Front>,
    ledger: Arc<Ledger>,
    network: Arc<FakeNetwork>,
    server: Arc<FakeServer>,
    metadata: FakeMetadata,
    registry: Registry,
}

/// An answer, read to its end.
struct Answer {
    status: u16,
    headers: HashMap<String, String>,
    body: String,
}

impl Stand {
    /// One pod, [`POD`], has the role `reader`; nothing may be proxied.
    async fn new() -> Self {
        Self::allowing("^$").await
    }

    async fn allowing(routes: &str) -> Self {
        let expression = RouteExpression::parse(routes).unwrap();
        Self::with(AllowedRoutes { presets: Vec::new(), expression, user_data: false }, Tokens::Optional).await
    }

    async fn with(allowed: AllowedRoutes, tokens: Tokens) -> Self {
        Self::limited(allowed, tokens, Limits { connections: 64, connections_per_pod: 32, requests_per_pod: 16 }).await
    }

    async fn limited(allowed: AllowedRoutes, tokens: Tokens, limits: Limits) -> Self {
        let (server, metadata, registry) =
            (Arc::new(FakeServer::default()), FakeMetadata::start(Mode::V2).await, Registry::new());
        server.set(POD, Pod::Role("reader", credentials()));
        let metrics = Arc::new(Metrics::new(&registry).unwrap());
        let network = Arc::new(FakeNetwork::default());
        let ledger = Arc::new(Ledger::new(network.clone(), MAX_STALE));
        let front = Front {
            imds: Imds {
                ledger: ledger.clone(),
                server: server.clone(),
                flights: Arc::default(),
                tokens,
                mint: Mint::new([7; 32], Clock::system()),
                metrics: metrics.clone(),
            },
            proxy: Proxy { allowed, metadata: Arc::new(metadata.client()), metrics: metrics.clone() },
            allow_ip_query: false,
            peers: Peers::new(limits),
            limits_told: Rarely::every(Duration::from_mins(1)),
            watcher: None,
            metrics,
        };
        Self { front: Arc::new(front), ledger, network, server, metadata, registry }
    }

    async fn get(&self, target: &str) -> Answer {
        self.ask(POD, Method::GET, target, &[]).await
    }

    async fn put_token(&self, pod: &str, headers: &[(&str, &str)]) -> Answer {
        self.ask(pod, Method::PUT, "/latest/api/token", headers).await
    }

    async fn ask(&self, pod: &str, method: Method, target: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = Request::builder().method(method).uri(target).header("host", "169.254.169.254");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        let (head, body) = self.front.answer(&Peer::new(pod.parse().unwrap(), 64), &head).await.into_parts();
        let text = |(name, value): (&header::HeaderName, &HeaderValue)| {
            (name.as_str().to_owned(), value.to_str().unwrap().to_owned())
        };
        Answer {
            status: head.status.as_u16(),
            headers: head.headers.iter().map(text).collect(),
            body: String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap(),
        }
    }

    fn metric(&self, series: &str) -> Option<f64> {
        kiam_common::testing::metrics::value(&self.metrics_text(), series)
    }

    fn metrics_text(&self) -> String {
        prometheus::TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap()
    }
}

impl Answer {
    fn code(&self) -> String {
        let body: serde_json::Value = serde_json::from_str(&self.body).unwrap();
        body["Code"].as_str().unwrap().to_owned()
    }
}

fn credentials() -> Credentials {
    Credentials {
        code: "Success".into(),
        r#type: "AWS-HMAC".into(),
        access_key_id: "ASIAEXAMPLE".into(),
        secret_access_key: SECRET.into(),
        token: SESSION_TOKEN.into(),
        expiration: "2026-11-21T10:00:00Z".into(),
        last_updated: "2026-11-21T09:00:00Z".into(),
        account_id: "123456789012".into(),
    }
}

fn refusal(reason: Reason) -> Refusal {
    Refusal { reason, message: "why".into(), aws_code: None }
}
