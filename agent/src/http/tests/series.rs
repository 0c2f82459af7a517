//! What is counted of requests, and that it is no more series for many pods than for few.

use super::*;

impl Stand {
    /// How many series there are.
    fn series(&self) -> usize {
        self.registry.gather().iter().map(|family| family.get_metric().len()).sum()
    }

    /// Pods that ask for whatever comes to their minds.
    async fn crowd(&self, pods: u32) {
        for number in 0..pods {
            let pod = std::net::Ipv4Addr::from_bits(0x0a00_0000 + number).to_string();
            for target in [LIST, &format!("{LIST}role-{number}"), &format!("/{number}/x")] {
                self.ask(&pod, Method::GET, target, &[]).await;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_pods_are_no_more_series_than_one() {
    let stand = Stand::new().await;
    stand.server.set("10.0.0.0", Pod::Refused(refusal(Reason::Forbidden)));
    let none = stand.series();
    stand.crowd(10_000).await;
    assert_eq!(stand.series(), none);
}

#[tokio::test(start_paused = true)]
async fn refusals_are_counted_by_kind() {
    let stand = Stand::new().await;
    stand.server.set(OTHER, Pod::Refused(refusal(Reason::StsRefused)));
    stand.ask(OTHER, Method::GET, LIST, &[]).await;
    stand.get("/latest//meta-data").await;
    stand.get("/latest/user-data").await;
    stand.get("/latest/meta-data/iam/info").await;
    for (reason, wanted) in [("sts", 1.0), ("malformed", 1.0), ("not_served", 2.0), ("over_capacity", 0.0)] {
        let series = format!("kiam_requests_rejected_total{{reason=\"{reason}\"}}");
        assert_eq!(stand.metric(&series), Some(wanted), "{reason}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_time_that_a_request_waits_for_a_server_is_told_apart() {
    let stand = Stand::new().await;
    let waited = |of: &str| stand.metric(&format!("kiam_metadata_server_wait_seconds_count{{handler=\"{of}\"}}"));
    stand.get("/ping").await;
    stand.get(LIST).await;
    assert_eq!((waited("roleName"), waited("credentials")), (Some(1.0), Some(0.0)));
    stand.get(&format!("{LIST}reader")).await;
    assert_eq!((waited("roleName"), waited("credentials")), (Some(1.0), Some(1.0)));
}
