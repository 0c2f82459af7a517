//! Calls against servers on loopback. Time is paused: it moves only while nothing else does.

use std::sync::atomic::Ordering;
use std::time::Duration;

use kiam_common::reason::Reason;
use kiam_common::telemetry::SPANS;
use kiam_common::testing::{CapturedSpans, Pki};
use tracing::Instrument as _;

use super::*;
use crate::sync::fake::{Agent, Behaviour, TestServer};

const POD: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
const LIMIT: Duration = Duration::from_secs(5);

impl Agent {
    fn calls(&self) -> Calls {
        Calls::new(self.endpoints.clone())
    }

    async fn role(&self) -> Result<String, Reason> {
        self.calls().role(POD, Instant::now() + LIMIT).await.map(|name| name.what).map_err(|refusal| refusal.reason)
    }
}

#[tokio::test(start_paused = true)]
async fn every_address_of_the_name_is_asked_in_turn() {
    let agent = Agent::new().await;
    let (a, b) = (agent.server("a", Behaviour::Answer).await, agent.server("b", Behaviour::Answer).await);
    agent.resolver.answer(&[a.address, b.address]);
    agent.run().await;
    for _ in 0..10 {
        agent.role().await.unwrap();
    }
    assert_eq!((a.calls(), b.calls()), (5, 5));
}

#[tokio::test(start_paused = true)]
async fn a_server_learns_the_pod_the_role_and_how_long_the_answer_is_of_use() {
    let agent = Agent::new().await;
    let a = agent.server("a", Behaviour::Answer).await;
    agent.resolver.answer(&[a.address]);
    agent.run().await;
    let answer = agent.calls().credentials(POD, "team/reader", Instant::now() + LIMIT).await.unwrap();
    assert_eq!((answer.what.access_key_id.as_str(), answer.what.token.as_str()), ("10.0.0.1", "team/reader"));
    let timeout = a.service.timeout.lock().unwrap().clone().unwrap();
    assert!(timeout.starts_with('4') || timeout.starts_with('5'), "{timeout}");
}

#[tokio::test(start_paused = true)]
async fn a_server_says_which_pod_its_answer_is_for_unless_it_is_kiams() {
    let agent = Agent::new().await;
    let a = agent.server("a", Behaviour::Answer).await;
    agent.resolver.answer(&[a.address]);
    agent.run().await;
    let role = agent.calls().role(POD, Instant::now() + LIMIT).await.unwrap();
    assert_eq!((role.what.as_str(), role.uid.as_deref()), ("a", Some("u-1")));
    let credentials = agent.calls().credentials(POD, "team/reader", Instant::now() + LIMIT).await.unwrap();
    assert_eq!(credentials.uid, None, "this call is answered as Kiam's servers do");
}

#[tokio::test(start_paused = true)]
async fn when_a_server_dies_the_next_is_asked_at_once() {
    let agent = Agent::new().await;
    let (a, b) = (agent.server("a", Behaviour::Answer).await, agent.server("b", Behaviour::Answer).await);
    agent.resolver.answer(&[a.address, b.address]);
    agent.run().await;
    a.stop();
    tokio::time::sleep(Duration::from_millis(10)).await;
    let started = Instant::now();
    for _ in 0..10 {
        assert_eq!(agent.role().await.as_deref(), Ok("b"));
    }
    assert!(started.elapsed() < Duration::from_millis(100), "{:?}", started.elapsed());
    assert!(agent.readiness.is_ready());
}

#[tokio::test(start_paused = true)]
async fn a_hanging_server_costs_one_caller_a_second_and_the_next_ones_nothing() {
    let agent = Agent::new().await;
    let (a, b) = (agent.server("a", Behaviour::Answer).await, agent.server("b", Behaviour::Answer).await);
    agent.resolver.answer(&[a.address, b.address]);
    agent.run().await;
    a.behave(Behaviour::Hang);
    let started = Instant::now();
    for _ in 0..2 {
        assert_eq!(agent.role().await.as_deref(), Ok("b"));
    }
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    let started = Instant::now();
    for _ in 0..4 {
        assert_eq!(agent.role().await.as_deref(), Ok("b"));
    }
    assert!(started.elapsed() < Duration::from_millis(100), "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn when_all_servers_hang_calls_end_at_the_deadline() {
    let agent = Agent::new().await;
    let (a, b) = (agent.server("a", Behaviour::Answer).await, agent.server("b", Behaviour::Answer).await);
    agent.resolver.answer(&[a.address, b.address]);
    agent.run().await;
    a.behave(Behaviour::Hang);
    b.behave(Behaviour::Hang);
    let started = Instant::now();
    assert_eq!(agent.role().await, Err(Reason::ServerUnreachable));
    assert_eq!(started.elapsed().as_secs(), 5);
    assert_eq!((a.calls(), b.calls()), (1, 1));
    assert_eq!(agent.readiness.waiting_for(), ["server"]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_not_ready_is_passed_over() {
    let agent = Agent::new().await;
    let a = agent.server("a", Behaviour::Refuse(Reason::ServerNotReady)).await;
    let b = agent.server("b", Behaviour::Answer).await;
    agent.resolver.answer(&[a.address, b.address]);
    agent.run().await;
    for _ in 0..4 {
        assert_eq!(agent.role().await.as_deref(), Ok("b"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_final_and_asked_for_once() {
    for reason in [Reason::Forbidden, Reason::NoRole, Reason::PodAmbiguous, Reason::StsRefused, Reason::StsUnavailable]
    {
        let agent = Agent::new().await;
        let a = agent.server("a", Behaviour::Refuse(reason)).await;
        agent.resolver.answer(&[a.address]);
        agent.run().await;
        assert_eq!(agent.role().await, Err(reason));
        assert_eq!(a.calls(), 1, "{reason:?}");
        assert!(agent.readiness.is_ready());
    }
}

#[tokio::test(start_paused = true)]
async fn a_kiam_v4_server_is_asked_again_until_it_knows_the_pod() {
    let agent = Agent::new().await;
    let a = agent.server("a", Behaviour::RefuseFirst(4, "no pod found")).await;
    agent.resolver.answer(&[a.address]);
    agent.run().await;
    assert_eq!(agent.role().await.as_deref(), Ok("a"));
    assert_eq!(a.calls(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_stays_unknown_is_refused_at_the_deadline() {
    let agent = Agent::new().await;
    let a = agent.server("a", Behaviour::RefuseAsKiam("no pod found")).await;
    agent.resolver.answer(&[a.address]);
    agent.run().await;
    let started = Instant::now();
    assert_eq!(agent.role().await, Err(Reason::PodNotFound));
    assert_eq!(started.elapsed().as_secs(), 5);
    assert!((10..25).contains(&a.calls()), "{}", a.calls());
}

#[tokio::test(start_paused = true)]
async fn a_kiam_v4_servers_policy_is_final() {
    let agent = Agent::new().await;
    let a = agent.server("a", Behaviour::RefuseAsKiam("forbidden by policy")).await;
    agent.resolver.answer(&[a.address]);
    agent.run().await;
    assert_eq!(agent.role().await, Err(Reason::Forbidden));
    assert_eq!(a.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn without_dns_or_servers_calls_end_at_the_deadline_and_work_once_one_is_there() {
    let agent = Agent::new().await;
    agent.begin();
    let started = Instant::now();
    assert_eq!(agent.role().await, Err(Reason::ServerUnreachable));
    assert_eq!(started.elapsed().as_secs(), 5);
    assert_eq!(agent.readiness.waiting_for(), ["server"]);

    let a = agent.server("a", Behaviour::Answer).await;
    agent.resolver.answer(&[a.address]);
    assert_eq!(agent.role().await.as_deref(), Ok("a"));
    assert!(agent.readiness.is_ready());
}

#[tokio::test(start_paused = true)]
async fn a_call_waits_out_a_server_that_comes_back() {
    let agent = Agent::new().await;
    let files = agent.pki.issue("a", &["kiam-server"]);
    let a = TestServer::start("a", &files, Behaviour::Answer).await;
    agent.resolver.answer(&[a.address]);
    agent.run().await;
    a.stop();
    tokio::time::sleep(Duration::from_millis(10)).await;
    let calling = agent.role();
    let coming_back = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(agent.readiness.waiting_for(), ["server"]);
        TestServer::start_at(a.address, "back", &files, Behaviour::Answer).await
    };
    let (answer, _back) = tokio::join!(calling, coming_back);
    assert_eq!(answer.as_deref(), Ok("back"));
    assert!(agent.readiness.is_ready());
}

#[tokio::test(start_paused = true)]
async fn new_addresses_of_the_name_are_taken_and_old_ones_let_go() {
    let agent = Agent::new().await;
    let (a, b) = (agent.server("a", Behaviour::Answer).await, agent.server("b", Behaviour::Answer).await);
    agent.resolver.answer(&[a.address]);
    agent.run().await;
    assert_eq!(agent.role().await.as_deref(), Ok("a"));
    agent.resolver.answer(&[b.address]);
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(agent.role().await.as_deref(), Ok("b"));
}

#[tokio::test(start_paused = true)]
async fn a_name_that_stops_resolving_takes_no_address_away() {
    let agent = Agent::new().await;
    let a = agent.server("a", Behaviour::Answer).await;
    agent.resolver.answer(&[a.address]);
    agent.run().await;
    agent.resolver.answer(&[]);
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(agent.role().await.as_deref(), Ok("a"));
}

#[tokio::test(start_paused = true)]
async fn a_server_with_a_foreign_certificate_is_not_believed() {
    let agent = Agent::new().await;
    let foreign = Pki::new();
    let a = TestServer::start("a", &foreign.issue("a", &["kiam-server"]), Behaviour::Answer).await;
    let b = agent.server("b", Behaviour::Answer).await;
    agent.resolver.answer(&[a.address, b.address]);
    agent.run().await;
    for _ in 0..4 {
        assert_eq!(agent.role().await.as_deref(), Ok("b"));
    }
    agent.resolver.answer(&[a.address]);
    tokio::time::sleep(Duration::from_secs(6)).await;
    let refusal = agent.calls().role(POD, Instant::now() + LIMIT).await.unwrap_err();
    assert_eq!(refusal.reason, Reason::ServerUnreachable);
    assert!(refusal.message.contains("certificate"), "{}", refusal.message);
    assert_eq!(a.service.calls.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn a_renewed_certificate_is_used_without_losing_a_call() {
    let agent = Agent::new().await;
    let a = agent.server("a", Behaviour::Answer).await;
    agent.resolver.answer(&[a.address]);
    tokio::spawn(agent.identity.clone().keep_current(agent.shutdown.clone()));
    agent.run().await;
    let before = *agent.identity.generation().borrow();
    agent.pki.reissue(&agent.files, &["agent"]);
    let mut generation = agent.identity.generation();
    while *generation.borrow_and_update() == before {
        agent.role().await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for _ in 0..20 {
        assert_eq!(agent.role().await.as_deref(), Ok("a"));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn each_server_that_is_asked_for_a_pod_has_a_span_and_nothing_else_has() {
    let (spans, agent) = (CapturedSpans::start(), Agent::new().await);
    let a = agent.server("a", Behaviour::Refuse(Reason::ServerNotReady)).await;
    let b = agent.server("b", Behaviour::Answer).await;
    agent.resolver.answer(&[a.address, b.address]);
    agent.run().await;
    assert!(spans.ended().is_empty(), "trying servers out is nobody's request");
    for _ in 0..2 {
        agent.role().instrument(tracing::info_span!(target: SPANS, "request")).await.unwrap();
    }
    let ended = spans.ended();
    let requests: Vec<_> = ended.iter().filter(|span| span.name == "request").collect();
    let calls: Vec<_> = ended.iter().filter(|span| span.name == "kiam.KiamService/GetPodRole").collect();
    assert_eq!(requests.len() + calls.len(), ended.len());
    assert!(calls.iter().all(|call| requests.iter().any(|request| request.span_id == call.parent_id)), "{ended:#?}");
    for (server, outcome) in [(&a, "ServerNotReady"), (&b, "ok")] {
        let port = server.address.port().to_string();
        let told: Vec<_> = calls.iter().filter(|call| call.attributes["server.port"] == port).collect();
        assert!(!told.is_empty() && told.iter().all(|call| call.attributes["kiam.outcome"] == outcome), "{told:#?}");
    }
}
