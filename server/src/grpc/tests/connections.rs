//! How connections end.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use super::{NO_LIMITS, Stand};
use crate::fixtures::{namespace, pod};
use crate::grpc::connection::Limits;

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed_and_the_next_call_opens_another() {
    let stand = Stand::with(Limits { idle: Duration::from_mins(1), ..NO_LIMITS }).await;
    stand.directory.apply_pod(&pod("a", "10.0.0.1", None));
    for (pause, opened) in [(0, 1), (40, 1), (40, 1), (61, 2)] {
        sleep(Duration::from_secs(pause)).await;
        stand.role("10.0.0.1").await.unwrap();
        assert_eq!(stand.opened(), opened, "after a pause of {pause} s");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_under_way_outlives_the_age_of_its_connection() {
    let limits = Limits { age: Duration::from_secs(2), age_grace: Duration::from_mins(1), ..NO_LIMITS };
    let stand = Stand::with(limits).await;
    stand.directory.apply_namespace(&namespace(".*"));
    stand.directory.apply_pod(&pod("a", "10.0.0.1", Some("reader")));
    stand.sts.answer_after(Duration::from_secs(3));
    assert_eq!(stand.credentials("10.0.0.1", "reader").await.unwrap().access_key_id, "ASIA1");
    stand.role("10.0.0.1").await.unwrap();
    assert_eq!(stand.opened(), 2, "the old one took no new call");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_outlives_the_grace_is_dropped_with_its_connection() {
    let limits = Limits { age: Duration::from_secs(2), age_grace: Duration::from_secs(1), ..NO_LIMITS };
    let stand = Stand::with(limits).await;
    stand.directory.apply_namespace(&namespace(".*"));
    stand.directory.apply_pod(&pod("a", "10.0.0.1", Some("reader")));
    stand.sts.answer_after(Duration::from_secs(4));
    let start = Instant::now();
    stand.credentials("10.0.0.1", "reader").await.unwrap_err();
    assert_eq!(start.elapsed().as_secs(), 3);
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
    let mut health = HealthClient::new(stand.channel.clone());
    // A call that the server never ends by itself.
    let watch = health.watch(HealthCheckRequest::default()).await.unwrap();
    let start = Instant::now();
    stand.shutdown.begin();
    stand.serving.await.unwrap();
    assert_eq!(start.elapsed().as_secs(), 10);
    drop(watch);
}
