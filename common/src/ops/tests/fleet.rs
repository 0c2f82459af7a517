//! What a server's listener shows of its agents.

use async_trait::async_trait;

use super::*;
use crate::testing::NamedScrapers;

/// Shows one series, and where it was asked.
#[derive(Debug)]
struct FakeFleet;

#[async_trait]
impl Fleet for FakeFleet {
    async fn families(&self, per_node: bool) -> Vec<MetricFamily> {
        let name = if per_node { "by_node_total" } else { "added_up_total" };
        IntCounter::new(name, "Of agents.").unwrap().collect()
    }

    async fn targets(&self, here: &Endpoint) -> String {
        format!("[\"{} {} {}\"]", here.address, here.path, here.tls)
    }
}

async fn with_fleet(flags: &str) -> Running {
    let args = args(flags);
    let ops = Ops::bind(&args, Registry::new(), Readiness::default()).await.unwrap().unwrap();
    run(ops.with_fleet(Arc::new(FakeFleet)).guarded_by(Arc::new(NamedScrapers), args.metrics.auth()))
}

#[tokio::test]
async fn the_fleet_is_shown_to_who_asks_for_it() {
    let running = with_fleet("").await;
    for (query, shown) in [
        ("?scope=fleet", "added_up_total 0"),
        ("?scope=fleet&per_node=false", "added_up_total 0"),
        ("?scope=fleet&per_node=true", "by_node_total 0"),
        ("?filter=kiam_.*", "kiam_build_info"),
    ] {
        let answer = ask(running.address, "GET", &format!("/metrics{query}")).await;
        assert!(status(&answer) == "200" && body(&answer).contains(shown), "{query}: {answer}");
    }
    let filtered = ask(running.address, "GET", "/metrics?scope=fleet&name[]=other").await;
    assert_eq!((status(&filtered), body(&filtered)), ("200", ""));
}

#[tokio::test]
async fn targets_are_told_with_the_address_that_the_server_was_reached_at() {
    let running = with_fleet("--prometheus-listen-addr=:0 --metrics-path=/m").await;
    let here = SocketAddr::new("127.0.0.1".parse().unwrap(), running.address.port());
    let answer = ask(here, "GET", "/sd").await;
    assert_eq!(body(&answer), format!("[\"{here} /m false\"]"));
    assert!(answer.contains("content-type: application/json\r\n"), "{answer}");
}

#[tokio::test]
async fn targets_are_for_who_may_read_metrics() {
    let running = with_fleet("--metrics-auth=kubernetes").await;
    assert_eq!(status(&ask(running.address, "GET", "/sd").await), "401");
    let tcp = TcpStream::connect(running.address).await.unwrap();
    assert_eq!(status(&ask_over(tcp, "GET", "/sd", "authorization: Bearer allowed\r\n").await), "200");
}

#[tokio::test]
async fn a_program_without_agents_knows_no_fleet() {
    let running = start().await;
    assert_eq!(status(&ask(running.address, "GET", "/sd").await), "404");
    let refused = ask(running.address, "GET", "/metrics?scope=fleet").await;
    assert_eq!((status(&refused), body(&refused)), ("400", "scope: \"fleet\" is not known here: expected a server\n"));
}
