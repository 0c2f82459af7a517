//! The gRPC contract to the byte, and who may speak it at all.

use kiam_common::testing::Pki;
use kiam_common::testing::metrics::value;
use kiam_tests::real::namespace::ROLE;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::grpc::{call_raw, channel, fields, message};
use crate::world::{World, metrics};

#[tokio::test]
async fn messages_have_kiams_field_numbers() {
    let world = World::start().await;
    let pod = world.namespace(".*").await.run("reader", &[(ROLE, "reader")]).await;
    let ip = pod.ip.to_string();
    let server = channel(world.server.addresses().main, &world.identities.agent).await;

    let role = call_raw(&server, "GetPodRole", &message(&[(1, &ip)])).await.expect("a role");
    assert_eq!(fields(&role), [(1, "reader".to_owned())]);

    let credentials = call_raw(&server, "GetPodCredentials", &message(&[(1, &ip), (2, "reader")])).await;
    let credentials = fields(&credentials.expect("credentials"));
    let numbers: Vec<u8> = credentials.iter().map(|(number, _)| *number).collect();
    // 8 is ours: the account of the role. Kiam's agents skip what they do not know.
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7, 8]);
    let text = |number: usize| credentials[number - 1].1.as_str();
    assert_eq!((text(1), text(2)), ("Success", "AWS-HMAC"));
    assert_eq!(text(8), "123456789012");
    assert!(text(3).starts_with("ASIA") && !text(4).is_empty() && !text(5).is_empty());
    let (expiration, last_updated): (jiff::Timestamp, jiff::Timestamp) =
        (text(6).parse().expect("a time"), text(7).parse().expect("a time"));
    assert!(last_updated < expiration);

    let health = call_raw(&server, "GetHealth", &[]).await.expect("health");
    assert_eq!(fields(&health), [(1, "ok".to_owned())]);
}

#[tokio::test]
async fn the_two_errors_that_kiams_agents_know_have_their_exact_messages() {
    let world = World::start().await;
    let pod = world.namespace("nothing").await.run("reader", &[(ROLE, "reader")]).await;
    let server = channel(world.server.addresses().main, &world.identities.agent).await;

    let forbidden = message(&[(1, &pod.ip.to_string()), (2, "reader")]);
    let status = call_raw(&server, "GetPodCredentials", &forbidden).await.expect_err("policy forbids it");
    assert_eq!((status.code(), status.message()), (Code::PermissionDenied, "forbidden by policy"));

    let nobody = message(&[(1, "192.0.2.1")]);
    let status = call_raw(&server, "GetPodRole", &nobody).await.expect_err("no pod has this address");
    assert_eq!((status.code(), status.message()), (Code::NotFound, "no pod found"));
}

#[tokio::test]
async fn a_request_that_is_no_request_is_refused() {
    let world = World::start().await;
    let server = channel(world.server.addresses().main, &world.identities.agent).await;
    let status = call_raw(&server, "GetPodRole", &message(&[(1, "not an address")])).await.expect_err("no address");
    assert_eq!(status.code(), Code::InvalidArgument);
    let status = call_raw(&server, "GetPodRole", &[0xff, 0xff]).await.expect_err("no message");
    assert_ne!(status.code(), Code::Ok);
    let status = call_raw(&server, "GetEverything", &[]).await.expect_err("no method");
    assert_eq!(status.code(), Code::Unimplemented);
}

#[tokio::test]
async fn the_standard_health_service_and_reflection_are_there() {
    let world = World::start().await;
    let server = channel(world.server.addresses().main, &world.identities.agent).await;
    for service in ["", "kiam.KiamService"] {
        let request = HealthCheckRequest { service: service.into() };
        let status = HealthClient::new(server.clone()).check(request).await.expect("health").into_inner().status();
        assert_eq!(status, ServingStatus::Serving, "{service:?}");
    }

    let list = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut answers = ServerReflectionClient::new(server)
        .server_reflection_info(tokio_stream::once(list))
        .await
        .expect("reflection")
        .into_inner();
    let answer = answers.message().await.expect("an answer").expect("an answer").message_response;
    let Some(MessageResponse::ListServicesResponse(listed)) = answer else { panic!("{answer:?}") };
    let names: Vec<String> = listed.service.into_iter().map(|service| service.name).collect();
    for name in ["kiam.KiamService", "grpc.health.v1.Health"] {
        assert!(names.iter().any(|listed| listed == name), "{names:?}");
    }
}

#[tokio::test]
async fn only_clients_of_the_own_authority_are_heard() {
    let world = World::start().await;
    let server = world.server.addresses().main;
    let strangers = Pki::new();
    let mut stranger = strangers.issue("agent", &["agent"]);
    // Trusts the server, but is not trusted by it.
    stranger.ca.clone_from(&world.identities.agent.ca);
    let expired = world.identities.pki.issue_expired("expired", &["agent"]);
    for identity in [&stranger, &expired] {
        let status = call_raw(&channel(server, identity).await, "GetHealth", &[]).await.expect_err("it is refused");
        assert_ne!(status.code(), Code::Ok, "{status:?}");
    }
    assert_nobody_without_certificate(&world).await;
    let handled =
        r#"grpc_server_started_total{grpc_method="GetHealth",grpc_service="kiam.KiamService",grpc_type="unary"}"#;
    let calls = value(&metrics(&world.server).await, handled).expect("the series");
    let answer = call_raw(&channel(server, &world.identities.agent).await, "GetHealth", &[]).await;
    assert!(answer.is_ok());
    assert_eq!(value(&metrics(&world.server).await, handled), Some(calls + 1.0), "only the last call got through");
}

/// Connects with TLS and without a certificate.
async fn assert_nobody_without_certificate(world: &World) {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, ServerName};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let authority = CertificateDer::from_pem_file(&world.identities.agent.ca).expect("a certificate");
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority).expect("a sound authority");
    let mut config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
    let tcp = tokio::net::TcpStream::connect(world.server.addresses().main).await.expect("the port listens");
    let name = ServerName::try_from("127.0.0.1").expect("an address");
    // In TLS 1.3 the client learns of the refusal when it reads.
    let refused = match connector.connect(name, tcp).await {
        Err(error) => error.to_string(),
        Ok(mut tls) => {
            let _ = tls.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
            tls.read_to_end(&mut Vec::new()).await.expect_err("the connection is refused").to_string()
        }
    };
    assert!(refused.contains("CertificateRequired") || refused.contains("alert"), "{refused}");
}
