//! The agent as a client of the instance metadata service, which here is a fake on loopback.

use super::fake::{FakeMetadata, Mode};
use super::*;

const ID: &str = "/latest/meta-data/instance-id";

fn tokens(service: &FakeMetadata) -> usize {
    service.seen().iter().filter(|seen| seen.method == Method::PUT).count()
}

#[tokio::test]
async fn a_request_is_made_in_a_session_that_is_opened_once() {
    let service = FakeMetadata::start(Mode::V2).await;
    let client = service.client();
    for _ in 0..3 {
        let answer = client.get(ID, None).await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.body().as_ref()), (200, b"i-0123456789abcdef0".as_slice()));
    }
    assert_eq!((tokens(&service), service.targets().len()), (1, 3));
}

#[tokio::test]
async fn what_is_sent_are_the_agents_own_headers_and_nothing_else() {
    let service = FakeMetadata::start(Mode::V2).await;
    service.client().get("/latest/meta-data/tags/a\"b", Some("c=d")).await.unwrap();
    let seen = service.seen();
    let names = |at: usize| {
        let mut names: Vec<_> = seen[at].headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    };
    assert_eq!((seen[0].method.as_str(), seen[0].target.as_str()), ("PUT", "/latest/api/token"));
    assert_eq!(names(0), ["host", "user-agent", TTL_HEADER]);
    assert_eq!((seen[1].method.as_str(), seen[1].target.as_str()), ("GET", "/latest/meta-data/tags/a%22b?c=d"));
    assert_eq!(names(1), ["host", "user-agent", TOKEN_HEADER]);
    assert!(seen.iter().all(|seen| seen.body.is_empty()));
}

#[tokio::test]
async fn only_known_headers_of_an_answer_are_passed_on() {
    let service = FakeMetadata::start(Mode::V1).await;
    let answer = service.client().get(ID, None).await.unwrap();
    assert_eq!(answer.headers().keys().collect::<Vec<_>>(), ["content-type"]);
}

#[tokio::test]
async fn a_session_that_has_ended_is_opened_anew() {
    let service = FakeMetadata::start(Mode::V2).await;
    let client = service.client();
    client.get(ID, None).await.unwrap();
    service.end_sessions();
    assert_eq!(client.get(ID, None).await.unwrap().status(), 200);
    assert_eq!(tokens(&service), 2);
}

#[tokio::test(start_paused = true)]
async fn a_session_is_renewed_before_it_ends() {
    let service = FakeMetadata::start(Mode::V2).await;
    let client = service.client();
    client.get(ID, None).await.unwrap();
    tokio::time::advance(Duration::from_secs(u64::from(SESSION_LIFE) - 61)).await;
    client.get(ID, None).await.unwrap();
    assert_eq!(tokens(&service), 1);
    tokio::time::advance(Duration::from_secs(2)).await;
    client.get(ID, None).await.unwrap();
    assert_eq!(tokens(&service), 2);
}

#[tokio::test]
async fn a_service_without_sessions_is_asked_without() {
    for mode in [Mode::V1, Mode::TokenStatus(403), Mode::TokenStatus(405)] {
        let service = FakeMetadata::start(mode).await;
        let client = service.client();
        for _ in 0..2 {
            assert_eq!(client.get(ID, None).await.unwrap().status(), 200, "{mode:?}");
        }
        assert_eq!(tokens(&service), 1, "{mode:?}");
    }
}

#[tokio::test]
async fn a_401_never_reaches_a_pod_which_would_drop_its_own_token() {
    let service = FakeMetadata::start(Mode::Status(401)).await;
    assert_eq!(service.client().get(ID, None).await.unwrap_err(), Error::MetadataStatus(401));
}

#[tokio::test]
async fn other_statuses_are_passed_on() {
    for status in [301, 404, 429, 500, 503] {
        let service = FakeMetadata::start(Mode::Status(status)).await;
        assert_eq!(service.client().get(ID, None).await.unwrap().status(), status);
    }
}

#[tokio::test]
async fn a_service_that_fails_to_open_a_session_is_named() {
    let service = FakeMetadata::start(Mode::TokenStatus(500)).await;
    assert_eq!(service.client().get(ID, None).await.unwrap_err(), Error::MetadataStatus(500));
}

#[tokio::test]
async fn an_answer_is_whole_or_an_error() {
    let service = FakeMetadata::start(Mode::Body(BODY_MAX)).await;
    let client = service.client();
    assert_eq!(client.get(ID, None).await.unwrap().body().len(), BODY_MAX);
    service.behave(Mode::Body(BODY_MAX + 1));
    assert_eq!(client.get(ID, None).await.unwrap_err(), Error::MetadataUnreachable);
}

#[tokio::test]
async fn a_service_that_is_away_is_told_apart_from_one_that_is_slow() {
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let client = MetadataService::new(Endpoint::parse(&format!("http://{gone}")).unwrap());
    assert_eq!(client.get(ID, None).await.unwrap_err(), Error::MetadataUnreachable);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_hangs_is_given_up_in_time() {
    let service = FakeMetadata::start(Mode::Hang).await;
    let started = Instant::now();
    assert_eq!(service.client().get(ID, None).await.unwrap_err(), Error::MetadataTimeout);
    assert_eq!(started.elapsed().as_secs(), ANSWER_WITHIN.as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_token_that_never_comes_is_done_without() {
    let service = FakeMetadata::start(Mode::TokenHang).await;
    let (client, started) = (service.client(), Instant::now());
    for _ in 0..2 {
        assert_eq!(client.get(ID, None).await.unwrap().status(), 200);
    }
    assert_eq!((started.elapsed().as_secs(), tokens(&service)), (1, 1));
}
