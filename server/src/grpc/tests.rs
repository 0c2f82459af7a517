//! The services over an in-memory connection, with a fake STS and fake events behind them.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use kiam_common::clock::Clock;
use kiam_common::grpc_metrics::GrpcMetrics;
use kiam_common::ops::{Blocker, Readiness};
use kiam_common::reason::{Reason, Refusal};
use kiam_common::shutdown::Shutdown;
use kiam_proto::kiam::kiam_service_client::KiamServiceClient;
use kiam_proto::kiam::{Credentials, GetHealthRequest, GetPodCredentialsRequest, GetPodRoleRequest};
use prometheus::Registry;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use super::connection::{Limits, serve};
use crate::directory::Directory;
use crate::directory::pods::PodFields;
use crate::events::fake::FakeEvents;
use crate::events::{EventReason, Recorder};
use crate::fixtures::{self, READER, namespace, pod, resolver};
use crate::issue::Issuer;
use crate::metrics::{EventMetrics, RequestMetrics};
use crate::sts::fake::FakeSts;

const NO_LIMITS: Limits = Limits {
    keepalive_time: Duration::ZERO,
    keepalive_timeout: Duration::from_secs(2),
    idle: Duration::ZERO,
    age: Duration::ZERO,
    age_grace: Duration::ZERO,
};

/// A server and a client of it. Pods and namespaces have been listed; there are none.
struct Stand {
    directory: Arc<Directory>,
    sts: Arc<FakeSts>,
    events: Arc<FakeEvents>,
    registry: Registry,
    pods_listed: Blocker,
    channel: Channel,
    connections: Arc<AtomicUsize>,
    shutdown: Shutdown,
    serving: JoinHandle<()>,
}

impl Stand {
    async fn new() -> Self {
        Self::with(NO_LIMITS).await
    }

    async fn with(limits: Limits) -> Self {
        let (registry, readiness, shutdown) = (Registry::new(), Readiness::default(), Shutdown::new());
        let pods_listed = readiness.blocker("pods");
        let directory = fixtures::directory();
        let (vault, sts) = fixtures::vault(&registry);
        let events = Arc::new(FakeEvents::default());
        let event_metrics = EventMetrics::new(&registry).unwrap();
        let (recorder, recording) =
            Recorder::new(Arc::clone(&events) as _, Clock::system(), event_metrics, shutdown.clone());
        tokio::spawn(recording);
        let issuer = Issuer {
            readiness: readiness.clone(),
            directory: Arc::clone(&directory),
            resolver: resolver(),
            vault,
            events: recorder,
            metrics: RequestMetrics::new(&registry).unwrap(),
        };
        let counted = GrpcMetrics::server(&registry, &super::descriptors()).unwrap();
        let health = super::unhealthy().await;
        let service = super::service(Arc::new(issuer), &health, &counted).unwrap();
        tokio::spawn(super::keep_health(health, readiness, shutdown.clone()));
        let (channel, incoming, connections) = in_memory();
        let serving = tokio::spawn(serve(incoming, service, limits, shutdown.clone()));
        pods_listed.clear();
        settle().await;
        Self { directory, sts, events, registry, pods_listed, channel, connections, shutdown, serving }
    }

    /// With the pod `a` at 10.0.0.1, whose namespace permits its role `reader`.
    async fn with_reader() -> Self {
        let stand = Self::new().await;
        stand.directory.apply_namespace(&namespace(".*:role/reader"));
        stand.directory.apply_pod(&pod("a", "10.0.0.1", Some("reader")));
        stand
    }

    /// How many connections the client has opened.
    fn opened(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    async fn role(&self, ip: &str) -> Result<String, Status> {
        let request = GetPodRoleRequest { ip: ip.into() };
        let role = KiamServiceClient::new(self.channel.clone()).get_pod_role(request).await?;
        Ok(role.into_inner().name)
    }

    async fn credentials(&self, ip: &str, role: &str) -> Result<Credentials, Status> {
        let request = GetPodCredentialsRequest { ip: ip.into(), role: role.into() };
        let credentials = KiamServiceClient::new(self.channel.clone()).get_pod_credentials(request).await?;
        Ok(credentials.into_inner())
    }

    async fn refusal(&self, ip: &str, role: &str) -> Refusal {
        Refusal::from_status(&self.credentials(ip, role).await.unwrap_err())
    }

    async fn health(&self, service: &str) -> i32 {
        let request = HealthCheckRequest { service: service.into() };
        HealthClient::new(self.channel.clone()).check(request).await.unwrap().into_inner().status
    }

    fn sample(&self, series: &str) -> f64 {
        let text = prometheus::TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap();
        kiam_common::testing::metrics::value(&text, series).unwrap_or_else(|| panic!("no {series} in {text}"))
    }
}

/// A channel whose connections arrive at the stream, and how many it has opened.
fn in_memory() -> (Channel, impl tokio_stream::Stream<Item = io::Result<tokio::io::DuplexStream>>, Arc<AtomicUsize>) {
    let (arrive, arriving) = mpsc::unbounded_channel();
    let opened = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&opened);
    let connector = tower::service_fn(move |_: http::Uri| {
        let (client, server) = tokio::io::duplex(64 * 1024);
        counter.fetch_add(1, Ordering::Relaxed);
        let arrived = arrive.send(server).map_err(|_| io::Error::from(io::ErrorKind::ConnectionRefused));
        async move { arrived.map(|()| TokioIo::new(client)) }
    });
    let channel = Endpoint::from_static("http://kiam-server").connect_with_connector_lazy(connector);
    (channel, UnboundedReceiverStream::new(arriving).map(Ok), opened)
}

async fn settle() {
    sleep(Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_pod_gets_the_credentials_of_its_role() {
    let stand = Stand::with_reader().await;
    assert_eq!(stand.role("10.0.0.1").await.unwrap(), "reader");
    let credentials = stand.credentials("10.0.0.1", "reader").await.unwrap();
    assert_eq!(credentials.code, "Success");
    assert_eq!(credentials.r#type, "AWS-HMAC");
    assert_eq!(credentials.access_key_id, "ASIA1");
    assert_eq!(credentials.secret_access_key, "secret-access-key-1");
    assert_eq!(credentials.token, "session-token-1");
    assert_eq!(credentials.expiration, "2026-11-21T11:00:00Z");
    for other_name in ["/reader", READER] {
        assert_eq!(stand.credentials("10.0.0.1", other_name).await.unwrap().access_key_id, "ASIA1");
    }
    let calls = stand.sts.calls();
    assert_eq!(calls.len(), 1);
    assert_eq!((calls[0].arn.as_str(), calls[0].session_name.as_str()), (READER, "kiam-kiam"));
}

#[tokio::test(start_paused = true)]
async fn the_role_is_the_annotations_own_text() {
    let stand = Stand::new().await;
    stand.directory.apply_pod(&pod("a", "10.0.0.1", Some("/team/reader")));
    stand.directory.apply_pod(&pod("b", "10.0.0.2", None));
    assert_eq!(stand.role("10.0.0.1").await.unwrap(), "/team/reader");
    assert_eq!(stand.role("10.0.0.2").await.unwrap(), "", "Kiam's answer for a pod without a role");
}

#[tokio::test(start_paused = true)]
async fn another_role_than_the_annotated_is_forbidden_with_an_event() {
    let stand = Stand::with_reader().await;
    let status = stand.credentials("10.0.0.1", "writer").await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::PermissionDenied, "forbidden by policy"));
    settle().await;
    let written = stand.events.written().clone();
    assert_eq!(written.created.len(), 1);
    assert_eq!(written.created[0].reason, EventReason::RoleForbidden);
    assert_eq!(
        written.created[0].message,
        "failed assuming role \"writer\": the pod asks for arn:aws:iam::123456789012:role/writer \
         but is annotated with arn:aws:iam::123456789012:role/reader"
    );
    assert!(stand.sts.calls().is_empty());
    assert_eq!(stand.sample(r#"kiam_requests_refused_total{reason="Forbidden"}"#), 1.0);
}

#[tokio::test(start_paused = true)]
async fn a_role_that_the_namespace_does_not_permit_is_forbidden_and_never_asked_of_sts() {
    let stand = Stand::with_reader().await;
    stand.directory.apply_namespace(&namespace(".*:role/writer"));
    let refusal = stand.refusal("10.0.0.1", "reader").await;
    assert_eq!(refusal.reason, Reason::Forbidden);
    assert!(refusal.message.contains("iam.amazonaws.com/permitted"), "{}", refusal.message);
    assert!(stand.sts.calls().is_empty());
}

#[tokio::test(start_paused = true)]
async fn each_refusal_has_its_reason() {
    let stand = Stand::with_reader().await;
    stand.directory.apply_pod(&pod("none", "10.0.0.2", None));
    stand.directory.apply_pod(&pod("odd", "10.0.0.3", Some("a b")));
    stand.directory.apply_pod(&pod("twin-1", "10.0.0.4", Some("reader")));
    stand.directory.apply_pod(&pod("twin-2", "10.0.0.4", Some("reader")));
    stand.directory.apply_pod(&PodFields { namespace: "new".into(), ..pod("early", "10.0.0.5", Some("reader")) });
    for (ip, role, reason) in [
        ("10.0.0.9", "reader", Reason::PodNotFound),
        ("10.0.0.2", "reader", Reason::NoRole),
        ("10.0.0.3", "a b", Reason::InvalidAnnotation),
        ("10.0.0.4", "reader", Reason::PodAmbiguous),
        ("10.0.0.5", "reader", Reason::ServerNotReady),
        ("10.0.0.1", "", Reason::BadRequest),
        ("10.0.0.1", "a b", Reason::BadRequest),
        ("10.0.0.256", "reader", Reason::BadRequest),
        ("", "reader", Reason::BadRequest),
    ] {
        assert_eq!(stand.refusal(ip, role).await.reason, reason, "{ip} {role}");
    }
    assert!(stand.role("10.0.0.3").await.is_err(), "a role that nobody understands is not handed on");
    settle().await;
    let reasons: HashMap<_, _> =
        stand.events.written().created.iter().map(|event| (event.pod.name.to_string(), event.reason)).collect();
    assert_eq!(reasons, HashMap::from([("odd".to_owned(), EventReason::InvalidAnnotation)]));
}

#[tokio::test(start_paused = true)]
async fn what_sts_says_reaches_the_caller_and_the_pods_owner() {
    let stand = Stand::with_reader().await;
    stand.sts.refuse(READER, "AccessDenied");
    let refusal = stand.refusal("10.0.0.1", "reader").await;
    assert_eq!((refusal.reason, refusal.aws_code.as_deref()), (Reason::StsRefused, Some("AccessDenied")));
    settle().await;
    let message = stand.events.written().created[0].message.clone();
    assert_eq!(message, "failed retrieving credentials: AccessDenied: not you");
    stand.sts.fail(READER);
    assert_eq!(stand.refusal("10.0.0.1", "reader").await.reason, Reason::StsUnavailable);
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_is_not_known_yet_is_waited_for() {
    let stand = Stand::with_reader().await;
    let arrival = async {
        sleep(Duration::from_secs(3)).await;
        stand.directory.apply_pod(&pod("late", "10.0.0.2", Some("reader")));
    };
    let start = Instant::now();
    let (credentials, ()) = tokio::join!(stand.credentials("10.0.0.2", "reader"), arrival);
    assert_eq!(credentials.unwrap().access_key_id, "ASIA1");
    assert_eq!(start.elapsed().as_secs(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_is_not_known_yet_is_waited_for() {
    let stand = Stand::new().await;
    stand.directory.apply_pod(&pod("a", "10.0.0.1", Some("reader")));
    let arrival = async {
        sleep(Duration::from_secs(2)).await;
        stand.directory.apply_namespace(&namespace(".*"));
    };
    let (credentials, ()) = tokio::join!(stand.credentials("10.0.0.1", "reader"), arrival);
    credentials.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_caller_in_a_hurry_hears_that_the_pod_is_not_known_before_it_gives_up() {
    let stand = Stand::with_reader().await;
    let mut request = Request::new(GetPodRoleRequest { ip: "10.0.0.9".into() });
    request.set_timeout(Duration::from_secs(1));
    let start = Instant::now();
    let status = KiamServiceClient::new(stand.channel.clone()).get_pod_role(request).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::NotFound, "no pod found"));
    assert_eq!(start.elapsed().as_millis() / 100, 9);
}

#[tokio::test(start_paused = true)]
async fn before_the_first_lists_nothing_is_answered_but_health() {
    let stand = Stand::with_reader().await;
    stand.pods_listed.set();
    let refusal = stand.refusal("10.0.0.1", "reader").await;
    assert_eq!(refusal.reason, Reason::ServerNotReady);
    assert!(refusal.message.contains("pods"), "{}", refusal.message);
    let health = KiamServiceClient::new(stand.channel.clone()).get_health(GetHealthRequest {}).await.unwrap();
    assert_eq!(health.into_inner().message, "ok");
}

#[tokio::test(start_paused = true)]
async fn health_is_serving_from_readiness_to_shutdown() {
    use tonic_health::pb::health_check_response::ServingStatus::{NotServing, Serving};
    let reporter = super::unhealthy().await;
    let stand = Stand::new().await;
    for name in super::HEALTH_NAMES {
        assert_eq!(stand.health(name).await, Serving as i32, "{name:?}");
    }
    let (readiness, shutdown) = (Readiness::default(), Shutdown::new());
    let listed = readiness.blocker("pods");
    let keeping = tokio::spawn(super::keep_health(reporter.clone(), readiness, shutdown.clone()));
    let service = tonic_health::server::HealthService::from_health_reporter(reporter);
    let status = async || {
        use tonic_health::pb::health_server::Health as _;
        let check = service.check(Request::new(HealthCheckRequest { service: "kiam.KiamService".into() }));
        check.await.unwrap().into_inner().status
    };
    settle().await;
    assert_eq!(status().await, NotServing as i32);
    listed.clear();
    settle().await;
    assert_eq!(status().await, Serving as i32);
    shutdown.begin();
    keeping.await.unwrap();
    assert_eq!(status().await, NotServing as i32);
}

#[tokio::test(start_paused = true)]
async fn reflection_tells_of_every_service_in_both_versions() {
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::{ServerReflectionRequest, server_reflection_response::MessageResponse};
    let stand = Stand::new().await;
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut client = ServerReflectionClient::new(stand.channel.clone());
    let answers = client.server_reflection_info(tokio_stream::once(request)).await.unwrap();
    let answer = answers.into_inner().message().await.unwrap().unwrap().message_response.unwrap();
    let MessageResponse::ListServicesResponse(list) = answer else { panic!("{answer:?}") };
    let names: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
    for name in ["kiam.KiamService", "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"] {
        assert!(names.iter().any(|known| known == name), "{name} in {names:?}");
    }
    use tonic_reflection::pb::v1alpha;
    let request = v1alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(v1alpha::server_reflection_request::MessageRequest::ListServices(String::new())),
    };
    let mut client = v1alpha::server_reflection_client::ServerReflectionClient::new(stand.channel.clone());
    assert!(client.server_reflection_info(tokio_stream::once(request)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn calls_are_counted_and_every_series_is_there_from_the_start() {
    let stand = Stand::with_reader().await;
    let handled = |method: &str, code: &str| {
        format!(
            r#"grpc_server_handled_total{{grpc_code="{code}",grpc_method="{method}",grpc_service="kiam.KiamService",grpc_type="unary"}}"#
        )
    };
    assert_eq!(stand.sample(&handled("GetPodRole", "OK")), 0.0);
    for reason in Reason::ALL {
        assert_eq!(stand.sample(&format!(r#"kiam_requests_refused_total{{reason="{}"}}"#, reason.as_str())), 0.0);
    }
    stand.role("10.0.0.1").await.unwrap();
    stand.refusal("10.0.0.1", "writer").await;
    assert_eq!(stand.sample(&handled("GetPodRole", "OK")), 1.0);
    assert_eq!(stand.sample(&handled("GetPodCredentials", "PermissionDenied")), 1.0);
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed_and_the_next_call_opens_another() {
    let stand = Stand::with(Limits { idle: Duration::from_secs(60), ..NO_LIMITS }).await;
    stand.directory.apply_pod(&pod("a", "10.0.0.1", None));
    for (pause, opened) in [(0, 1), (40, 1), (40, 1), (61, 2)] {
        sleep(Duration::from_secs(pause)).await;
        stand.role("10.0.0.1").await.unwrap();
        assert_eq!(stand.opened(), opened, "after a pause of {pause} s");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_under_way_outlives_the_age_of_its_connection() {
    let limits = Limits { age: Duration::from_secs(2), age_grace: Duration::from_secs(60), ..NO_LIMITS };
    let stand = Stand::with(limits).await;
    stand.directory.apply_namespace(&namespace(".*"));
    stand.directory.apply_pod(&pod("a", "10.0.0.1", Some("reader")));
    stand.sts.answer_after(Duration::from_secs(20));
    assert_eq!(stand.credentials("10.0.0.1", "reader").await.unwrap().access_key_id, "ASIA1");
    stand.role("10.0.0.1").await.unwrap();
    assert_eq!(stand.opened(), 2, "the old one took no new call");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_outlives_the_grace_is_dropped_with_its_connection() {
    let limits = Limits { age: Duration::from_secs(2), age_grace: Duration::from_secs(5), ..NO_LIMITS };
    let stand = Stand::with(limits).await;
    stand.directory.apply_namespace(&namespace(".*"));
    stand.directory.apply_pod(&pod("a", "10.0.0.1", Some("reader")));
    stand.sts.answer_after(Duration::from_secs(20));
    let start = Instant::now();
    stand.credentials("10.0.0.1", "reader").await.unwrap_err();
    assert_eq!(start.elapsed().as_secs(), 7);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_lets_calls_under_way_finish_and_takes_no_new_ones() {
    let stand = Stand::with_reader().await;
    stand.sts.answer_after(Duration::from_secs(4));
    let (issued, ()) = tokio::join!(stand.credentials("10.0.0.1", "reader"), async {
        sleep(Duration::from_secs(1)).await;
        stand.shutdown.begin();
    });
    issued.unwrap();
    assert!(stand.role("10.0.0.1").await.is_err());
    stand.serving.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_does_not_wait_for_ever() {
    let stand = Stand::with_reader().await;
    stand.sts.answer_after(Duration::from_secs(25));
    let start = Instant::now();
    let (issued, ()) = tokio::join!(stand.credentials("10.0.0.1", "reader"), async {
        sleep(Duration::from_secs(1)).await;
        stand.shutdown.begin();
    });
    issued.unwrap_err();
    stand.serving.await.unwrap();
    assert_eq!(start.elapsed().as_secs(), 11);
}
