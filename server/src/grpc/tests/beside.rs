//! What stands beside the service: health, reflection, metrics.

use kiam_common::ops::Readiness;
use kiam_common::reason::Reason;
use kiam_common::shutdown::Shutdown;
use kiam_common::testing::CapturedLog;
use tonic::Request;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus::{NotServing, Serving};
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::health_server::Health as _;
use tonic_reflection::pb::{v1, v1alpha};

use super::{Stand, settle};
use crate::grpc;

impl Stand {
    async fn health(&self, service: &str) -> i32 {
        let request = HealthCheckRequest { service: service.into() };
        HealthClient::new(self.channel.clone()).check(request).await.unwrap().into_inner().status
    }
}

#[tokio::test(start_paused = true)]
async fn health_is_serving_from_readiness_to_shutdown() {
    let reporter = grpc::unhealthy().await;
    let stand = Stand::new().await;
    for name in grpc::HEALTH_NAMES {
        assert_eq!(stand.health(name).await, Serving as i32, "{name:?}");
    }
    let (readiness, shutdown) = (Readiness::default(), Shutdown::new());
    let listed = readiness.blocker("pods");
    let keeping = tokio::spawn(grpc::keep_health(reporter.clone(), readiness, shutdown.clone()));
    let service = tonic_health::server::HealthService::from_health_reporter(reporter);
    let status = async || {
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
    let stand = Stand::new().await;
    let request = v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(v1::server_reflection_request::MessageRequest::ListServices(String::new())),
    };
    let mut client = v1::server_reflection_client::ServerReflectionClient::new(stand.channel.clone());
    let mut answers = client.server_reflection_info(tokio_stream::once(request)).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response.unwrap();
    let v1::server_reflection_response::MessageResponse::ListServicesResponse(list) = answer else {
        panic!("{answer:?}")
    };
    let names: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
    for name in ["kiam.KiamService", "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"] {
        assert!(names.iter().any(|known| known == name), "{name} in {names:?}");
    }
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
    assert_eq!(stand.count(&handled("GetPodRole", "OK")), 0);
    for reason in Reason::ALL {
        assert_eq!(stand.count(&format!(r#"kiam_requests_refused_total{{reason="{}"}}"#, reason.as_str())), 0);
    }
    stand.role("10.0.0.1").await.unwrap();
    stand.refusal("10.0.0.1", "writer").await;
    assert_eq!(stand.count(&handled("GetPodRole", "OK")), 1);
    assert_eq!(stand.count(&handled("GetPodCredentials", "PermissionDenied")), 1);
}

#[tokio::test(start_paused = true)]
async fn no_secret_is_logged_exported_or_told_in_an_event() {
    let log = CapturedLog::start();
    let stand = Stand::with_reader().await;
    let credentials = stand.credentials("10.0.0.1", "reader").await.unwrap();
    stand.refusal("10.0.0.1", "writer").await;
    settle().await;
    let logged = log.text();
    assert!(logged.contains("refused: the pod asks for") && logged.contains("credentials issued"), "{logged}");
    let metrics = prometheus::TextEncoder::new().encode_to_string(&stand.registry.gather()).unwrap();
    let events = format!("{:?}", *stand.events.written());
    for secret in [&credentials.secret_access_key, &credentials.token] {
        for told in [&logged, &metrics, &events] {
            assert!(!told.contains(secret.as_str()));
        }
    }
}
