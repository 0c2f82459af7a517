use std::convert::Infallible;
use std::sync::Mutex;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use hyper_util::rt::TokioIo;
use kiam_proto::FILE_DESCRIPTOR_SET;
use kiam_proto::kiam::kiam_service_client::KiamServiceClient;
use kiam_proto::kiam::kiam_service_server::{KiamService, KiamServiceServer};
use kiam_proto::kiam::{
    Credentials, GetHealthRequest, GetPodCredentialsRequest, GetPodRoleRequest, HealthStatus, Role,
};
use prometheus::TextEncoder;
use tokio::io::DuplexStream;
use tokio_stream::StreamExt as _;
use tonic::Status;
use tonic::body::Body;
use tonic::transport::{Channel, Endpoint, Server};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::server::HealthReporter;
use tower::{ServiceBuilder, ServiceExt as _, service_fn};

use super::*;
use crate::testing::metrics::count;

const DESCRIPTORS: [&[u8]; 2] = [FILE_DESCRIPTOR_SET, tonic_health::pb::FILE_DESCRIPTOR_SET];

/// Healthy; knows no pod; never finishes with credentials.
struct Kiam;

#[tonic::async_trait]
impl KiamService for Kiam {
    async fn get_pod_role(&self, _: tonic::Request<GetPodRoleRequest>) -> Result<tonic::Response<Role>, Status> {
        Err(Status::not_found("no pod found"))
    }

    async fn get_pod_credentials(
        &self,
        _: tonic::Request<GetPodCredentialsRequest>,
    ) -> Result<tonic::Response<Credentials>, Status> {
        std::future::pending().await
    }

    async fn get_health(&self, _: tonic::Request<GetHealthRequest>) -> Result<tonic::Response<HealthStatus>, Status> {
        Ok(tonic::Response::new(HealthStatus { message: "ok".into() }))
    }
}

/// A server and a client that count, joined by a pipe.
struct Pair {
    registry: Registry,
    channel: CountedService<Channel>,
    health: HealthReporter,
}

impl Pair {
    fn new() -> Self {
        let registry = Registry::new();
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let (health, health_service) = tonic_health::server::health_reporter();
        let serving = Server::builder()
            .layer(GrpcMetrics::server(&registry, &DESCRIPTORS).unwrap().layer())
            .add_service(KiamServiceServer::new(Kiam))
            .add_service(health_service)
            .serve_with_incoming(tokio_stream::once(Ok::<_, Infallible>(theirs)));
        tokio::spawn(serving);
        let layer = GrpcMetrics::client(&registry, &DESCRIPTORS).unwrap().layer();
        Self { registry, channel: ServiceBuilder::new().layer(layer).service(channel(ours)), health }
    }

    fn kiam(&self) -> KiamServiceClient<CountedService<Channel>> {
        KiamServiceClient::new(self.channel.clone())
    }

    fn text(&self) -> String {
        text(&self.registry)
    }

    /// Waits until both sides have the call of `method` handled with `code`.
    async fn handled(&self, method: &str, code: &str) {
        let handled = |side| count(&self.text(), &handled(side, method, code)) == Some(1);
        while !(handled("server") && handled("client")) {
            tokio::task::yield_now().await;
        }
    }

    /// Started, requests and responses of a method: the same on both sides, or this fails.
    fn counts(&self, method: &str) -> [i64; 3] {
        let (server, client) = (counts(&self.text(), "server", method), counts(&self.text(), "client", method));
        assert_eq!(server, [client[0], client[2], client[1]]);
        [client[0], client[2], client[1]]
    }
}

/// A channel over one pipe; a second connection is refused.
fn channel(pipe: DuplexStream) -> Channel {
    let pipe = Mutex::new(Some(TokioIo::new(pipe)));
    Endpoint::from_static("http://server").connect_with_connector_lazy(service_fn(move |_| {
        let pipe = pipe.lock().unwrap().take();
        async { pipe.ok_or_else(|| std::io::Error::from(std::io::ErrorKind::ConnectionRefused)) }
    }))
}

fn text(registry: &Registry) -> String {
    TextEncoder::new().encode_to_string(&registry.gather()).unwrap()
}

/// The three labels of a method given as `type/service/method`.
fn labels(method: &str) -> String {
    let [kind, service, method] = method.split('/').collect::<Vec<_>>().try_into().unwrap();
    format!("grpc_method=\"{method}\",grpc_service=\"{service}\",grpc_type=\"{kind}\"")
}

fn handled(side: &str, method: &str, code: &str) -> String {
    format!("grpc_{side}_handled_total{{grpc_code=\"{code}\",{}}}", labels(method))
}

/// Started, received and sent.
fn counts(text: &str, side: &str, method: &str) -> [i64; 3] {
    let labels = labels(method);
    ["started", "msg_received", "msg_sent"]
        .map(|name| count(text, &format!("grpc_{side}_{name}_total{{{labels}}}")).unwrap())
}

const HEALTH: &str = "unary/kiam.KiamService/GetHealth";
const ROLE: &str = "unary/kiam.KiamService/GetPodRole";
const CREDENTIALS: &str = "unary/kiam.KiamService/GetPodCredentials";
const WATCH: &str = "server_stream/grpc.health.v1.Health/Watch";
const UNKNOWN: &str = "unary/unknown/unknown";

const CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

#[test]
fn every_method_and_code_is_there_from_the_start() {
    let registry = Registry::new();
    GrpcMetrics::server(&registry, &DESCRIPTORS).unwrap();
    GrpcMetrics::client(&registry, &DESCRIPTORS).unwrap();
    let text = text(&registry);
    for side in ["server", "client"] {
        for method in [HEALTH, ROLE, CREDENTIALS, WATCH, UNKNOWN] {
            assert_eq!(counts(&text, side, method), [0; 3], "{side} {method}");
            for code in CODES {
                assert_eq!(count(&text, &handled(side, method, code)), Some(0), "{side} {method} {code}");
            }
        }
    }
}

#[test]
fn what_is_no_descriptor_is_an_error() {
    assert!(GrpcMetrics::server(&Registry::new(), &[b"\xff"]).is_err());
}

#[tokio::test]
async fn an_answered_call_is_counted_on_both_sides() {
    let pair = Pair::new();
    assert_eq!(pair.kiam().get_health(GetHealthRequest {}).await.unwrap().into_inner().message, "ok");
    pair.handled(HEALTH, "OK").await;
    assert_eq!(pair.counts(HEALTH), [1, 1, 1]);
}

#[tokio::test]
async fn a_refused_call_is_handled_with_its_code() {
    let pair = Pair::new();
    pair.kiam().get_pod_role(GetPodRoleRequest { ip: "10.0.0.1".into() }).await.unwrap_err();
    pair.handled(ROLE, "NotFound").await;
    assert_eq!(pair.counts(ROLE), [1, 1, 0]);
}

#[tokio::test]
async fn a_call_that_is_given_up_is_canceled() {
    let pair = Pair::new();
    let mut kiam = pair.kiam();
    let call = tokio::spawn(async move { kiam.get_pod_credentials(GetPodCredentialsRequest::default()).await });
    while counts(&pair.text(), "server", CREDENTIALS)[1] < 1 {
        tokio::task::yield_now().await;
    }
    call.abort();
    pair.handled(CREDENTIALS, "Canceled").await;
    assert_eq!(pair.counts(CREDENTIALS), [1, 1, 0]);
}

#[tokio::test]
async fn each_message_of_a_stream_is_counted_and_a_stream_that_is_left_is_canceled() {
    let pair = Pair::new();
    let mut health = HealthClient::new(pair.channel.clone());
    let mut changes = health.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    changes.message().await.unwrap();
    pair.health.set_service_status("", tonic_health::ServingStatus::NotServing).await;
    changes.message().await.unwrap();
    assert_eq!(pair.counts(WATCH), [1, 1, 2]);
    drop(changes);
    pair.handled(WATCH, "Canceled").await;
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_is_unavailable() {
    let registry = Registry::new();
    let (pipe, closed) = tokio::io::duplex(1);
    drop(closed);
    let channel = channel(pipe);
    let layer = GrpcMetrics::client(&registry, &DESCRIPTORS).unwrap().layer();
    let mut kiam = KiamServiceClient::new(layer.layer(channel));
    let status = kiam.get_health(GetHealthRequest {}).await.unwrap_err();
    let code = format!("{:?}", status.code());
    assert_eq!(count(&text(&registry), &handled("client", HEALTH, &code)), Some(1), "{status}");
}

/// What a server answers to `path` when the service inside answers with these frames.
async fn counted(path: &str, frames: Vec<Result<Frame<Bytes>, Status>>) -> (Registry, Response<ResponseBody<Body>>) {
    let registry = Registry::new();
    let layer = GrpcMetrics::server(&registry, &DESCRIPTORS).unwrap().layer();
    let frames = Mutex::new(frames);
    let inside = service_fn(move |_: Request<Body>| {
        let body = Body::new(StreamBody::new(tokio_stream::iter(std::mem::take(&mut *frames.lock().unwrap()))));
        async { Ok::<_, Infallible>(Response::new(body)) }
    });
    let request = Request::builder().method("POST").uri(path).body(Body::empty()).unwrap();
    let response = layer.layer(inside).oneshot(request).await.unwrap();
    (registry, response)
}

fn data(bytes: &'static [u8]) -> Frame<Bytes> {
    Frame::data(Bytes::from_static(bytes))
}

fn trailers(status: &'static str) -> Frame<Bytes> {
    let status = (HeaderName::from_static("grpc-status"), HeaderValue::from_static(status));
    Frame::trailers(HeaderMap::from_iter([status]))
}

#[tokio::test]
async fn an_error_after_messages_is_the_streams_code() {
    let frames = vec![Ok(data(b"\0\0\0\0\x02ab\0\0")), Ok(data(b"\0\0\x01c")), Ok(trailers("5"))];
    let (registry, response) = counted("/grpc.health.v1.Health/Watch", frames).await;
    response.into_body().collect().await.unwrap();
    assert_eq!(counts(&text(&registry), "server", WATCH), [1, 0, 2]);
    assert_eq!(count(&text(&registry), &handled("server", WATCH, "NotFound")), Some(1));
    assert_eq!(count(&text(&registry), &handled("server", WATCH, "Canceled")), Some(0));
}

#[tokio::test]
async fn a_broken_body_and_one_without_status_have_their_codes() {
    for (frames, code) in [
        (vec![Ok(data(b"\0\0\0\0\0")), Err(Status::data_loss("cut"))], "DataLoss"),
        (vec![Ok(data(b"\0\0\0\0\0"))], "Unknown"),
        (vec![Ok(trailers("99"))], "Unknown"),
    ] {
        let (registry, response) = counted("/grpc.health.v1.Health/Watch", frames).await;
        let _broken = response.into_body().collect().await;
        assert_eq!(count(&text(&registry), &handled("server", WATCH, code)), Some(1), "{code}");
    }
}

#[tokio::test]
async fn a_response_that_is_dropped_halfway_is_canceled() {
    let frames = vec![Ok(data(b"\0\0\0\0\0")), Ok(trailers("0"))];
    let (registry, response) = counted("/kiam.KiamService/GetHealth", frames).await;
    let mut body = response.into_body();
    body.frame().await.unwrap().unwrap();
    drop(body);
    assert_eq!(count(&text(&registry), &handled("server", HEALTH, "Canceled")), Some(1));
}

#[tokio::test]
async fn paths_that_no_descriptor_knows_share_one_label() {
    for path in ["/", "/x/y", "/kiam.KiamService/GetHealth/", "/kiam.KiamService/Nothing"] {
        let (registry, response) = counted(path, vec![Ok(trailers("12"))]).await;
        response.into_body().collect().await.unwrap();
        assert_eq!(counts(&text(&registry), "server", UNKNOWN)[0], 1, "{path}");
        assert_eq!(count(&text(&registry), &handled("server", UNKNOWN, "Unimplemented")), Some(1), "{path}");
    }
}

#[tokio::test]
async fn unary_calls_of_the_server_are_timed_with_the_familys_labels_and_nothing_else_is() {
    let pair = Pair::new();
    pair.kiam().get_pod_role(GetPodRoleRequest::default()).await.unwrap_err();
    let mut watch = HealthClient::new(pair.channel.clone()).watch(HealthCheckRequest::default()).await.unwrap();
    watch.get_mut().next().await.unwrap().unwrap();
    let text = pair.text();
    // The histogram is the process's: other tests count there, too.
    let series = "grpc_server_handling_seconds_count{grpc_code=\"NotFound\",grpc_method=\"GetPodRole\",\
                  grpc_service=\"kiam.KiamService\",grpc_type=\"unary\"}";
    assert!(count(&text, series).unwrap() >= 1, "{text}");
    assert!(text.contains("le=\"4.096\""), "{text}");
    assert!(!text.contains("function_calls"), "{text}");
    let timed: Vec<&str> =
        text.lines().filter(|line| line.contains("handling_seconds") && line.contains("Watch")).collect();
    assert!(timed.is_empty(), "{timed:?}");
}
