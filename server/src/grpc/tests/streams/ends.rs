//! How streams begin and end.

use std::net::IpAddr;
use std::time::Duration;

use kiam_common::reason::{Reason, Refusal};
use kiam_proto::node::node_message::Message as Said;
use kiam_proto::node::server_message::Message;
use kiam_proto::node::{GoAway, NodeMessage, Status};
use tokio::time::{Instant, sleep};
use tonic::Code;

use super::super::{NO_LIMITS, Stand, settle};
use super::{all, hello};
use crate::directory::pods::PodFields;
use crate::fixtures::{namespace, pod};
use crate::grpc::connection::Limits;

impl Stand {
    fn ended(&self, end: &str) -> i64 {
        self.count(&format!("kiam_node_streams_total{{end=\"{end}\"}}"))
    }
}

#[tokio::test(start_paused = true)]
async fn who_does_not_say_hello_is_refused() {
    let stand = Stand::new().await;
    let status = NodeMessage { message: Some(Said::Status(Status::default())) };
    for first in [status, NodeMessage::default(), hello(""), hello("No Node")] {
        let refused = stand.sync_with(first).await.map(|_| ()).unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
    }
    assert_eq!(stand.ended("refused"), 4);
}

#[tokio::test(start_paused = true)]
async fn who_says_nothing_at_all_is_refused_after_five_seconds() {
    let stand = Stand::new().await;
    let start = Instant::now();
    let refused = stand.sync_with(None).await.map(|_| ()).unwrap_err();
    assert_eq!((refused.code(), start.elapsed().as_secs()), (Code::InvalidArgument, 5));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_not_ready_or_stopping_sends_agents_to_others() {
    let stand = Stand::new().await;
    stand.pods_listed.set();
    let refused = stand.sync("node-1").await.map(|_| ()).unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert_eq!(Refusal::from_status(&refused).reason, Reason::ServerNotReady);
    stand.pods_listed.clear();
    assert!(stand.sync("node-1").await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_is_silent_for_a_minute_is_cut() {
    let stand = Stand::new().await;
    let mut agent = stand.synced().await;
    for _ in 0..3 {
        sleep(Duration::from_secs(50)).await;
        agent.says.send(NodeMessage { message: Some(Said::Status(Status::default())) }).await.unwrap();
    }
    let start = Instant::now();
    assert!(agent.next().await.is_none());
    assert_eq!(start.elapsed().as_secs(), 60);
    settle().await;
    assert_eq!(stand.ended("silent"), 1);
}

#[tokio::test(start_paused = true)]
async fn what_the_server_does_not_know_is_a_sign_of_life() {
    let stand = Stand::new().await;
    let mut agent = stand.synced().await;
    for message in [NodeMessage::default(), hello("node-2"), NodeMessage::default()] {
        sleep(Duration::from_secs(50)).await;
        agent.says.send(message).await.unwrap();
    }
    stand.pass_on(&stand.directory.apply_pod(&pod("a", "10.0.0.1", None)));
    assert_eq!(all(&agent.news().await), ["bind 10.0.0.1 a NoRole"]);
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_leaves_is_forgotten() {
    let stand = Stand::new().await;
    let agent = stand.synced().await;
    assert_eq!(stand.count("kiam_nodes_connected"), 1);
    drop(agent);
    settle().await;
    assert_eq!((stand.ended("agent"), stand.count("kiam_nodes_connected")), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_does_not_read_is_cut_after_ten_seconds_and_gets_a_snapshot_when_it_is_back() {
    let stand = Stand::with_reader().await;
    let agent = stand.synced().await;
    let start = Instant::now();
    // More than what the connection takes ahead of its reader.
    for number in 0..200_u32 {
        let name = format!("{number}-{}", "n".repeat(50_000));
        let ip = IpAddr::from((0x0a00_1000 + number).to_be_bytes()).to_string();
        stand.pass_on(&stand.directory.apply_pod(&pod(&name, &ip, None)));
    }
    while stand.ended("slow") == 0 {
        sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(start.elapsed().as_secs(), 10);
    assert!(agent.told_so_far().await < 200);
    let mut back = stand.sync("node-1").await.unwrap();
    assert_eq!(back.snapshot().await.len(), 1 + 1 + 200 + 1, "Welcome, every pod, and the credentials");
    assert_eq!(stand.opened(), 2, "the connection went with the stream");
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_sends_the_agents_away_and_serves_them_on_until_they_have_gone() {
    let stand = Stand::with_reader().await;
    let mut agent = stand.synced().await;
    agent.news().await;
    let start = Instant::now();
    stand.shutdown.begin();
    assert!(matches!(agent.next().await, Some(Message::GoAway(_))));
    assert_eq!(start.elapsed().as_secs(), 0);
    stand.pass_on(&stand.directory.apply_pod(&pod("b", "10.0.0.2", None)));
    assert_eq!(all(&[agent.next().await.unwrap()]), ["bind 10.0.0.2 b NoRole"]);
    drop(agent);
    stand.serving.await.unwrap();
    assert_eq!(start.elapsed().as_secs(), 0, "nobody waits for who has gone");
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_waits_five_seconds_for_agents_that_stay() {
    let stand = Stand::new().await;
    let mut agent = stand.synced().await;
    let start = Instant::now();
    stand.shutdown.begin();
    let Some(Message::GoAway(GoAway { reason })) = agent.next().await else { panic!("no farewell") };
    assert_eq!(reason, "the server is stopping");
    assert!(agent.next().await.is_none());
    stand.serving.await.unwrap();
    assert_eq!(start.elapsed().as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn an_old_connection_sends_its_agent_to_a_new_one() {
    let limits = Limits { age: Duration::from_mins(15), age_grace: Duration::from_mins(5), ..NO_LIMITS };
    let stand = Stand::with(limits).await;
    let mut agent = stand.synced().await;
    let mut news = agent.keep_for(Duration::from_mins(17)).await;
    assert!(matches!(news.pop(), Some(Message::GoAway(_))) && news.is_empty());
    // Where the client has not yet noticed that its connection takes nothing new, the first attempt fails.
    let mut next = match stand.sync("node-1").await {
        Ok(next) => next,
        Err(_) => stand.sync("node-1").await.unwrap(),
    };
    next.snapshot().await;
    assert_eq!(stand.opened(), 2);
    stand.pass_on(&stand.directory.apply_pod(&pod("a", "10.0.0.1", None)));
    for one in [&mut agent, &mut next] {
        assert_eq!(all(&one.news().await), ["bind 10.0.0.1 a NoRole"], "both are served");
    }
    drop(agent);
    settle().await;
    assert_eq!(stand.ended("age"), 1);
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_ignores_the_farewell_is_cut_with_its_connection() {
    let limits = Limits { age: Duration::from_mins(15), age_grace: Duration::from_mins(5), ..NO_LIMITS };
    let stand = Stand::with(limits).await;
    let mut agent = stand.synced().await;
    let start = Instant::now();
    agent.keep_for(Duration::from_mins(22)).await;
    assert!(agent.next().await.is_none());
    assert!((20..=22).contains(&(start.elapsed().as_secs() / 60)));
    assert_eq!(stand.ended("age"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_connection_with_a_stream_is_not_idle() {
    let stand = Stand::with(Limits { idle: Duration::from_mins(1), ..NO_LIMITS }).await;
    let mut agent = stand.synced().await;
    agent.keep_for(Duration::from_mins(10)).await;
    stand.pass_on(&stand.directory.apply_pod(&pod("a", "10.0.0.1", None)));
    assert_eq!(agent.news().await.len(), 1);
    assert_eq!(stand.opened(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_nodes_newest_streams_push_out_the_oldest() {
    let stand = Stand::new().await;
    let mut oldest = stand.synced().await;
    let mut second = stand.synced().await;
    let _others = [stand.synced().await, stand.synced().await, stand.synced().await];
    assert!(oldest.next().await.is_none());
    stand.pass_on(&stand.directory.apply_pod(&pod("a", "10.0.0.1", None)));
    assert_eq!(second.news().await.len(), 1);
    assert_eq!((stand.ended("replaced"), stand.count("kiam_nodes_connected")), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn nobody_follows_what_no_stream_refers_to() {
    let stand = Stand::with_reader().await;
    let elsewhere = PodFields { node: Some("node-2".into()), ..pod("b", "10.0.1.1", Some("reader")) };
    stand.directory.apply_pod(&elsewhere);
    let (one, other) = (stand.synced().await, stand.sync("node-2").await.unwrap());
    settle().await;
    assert_eq!(stand.desk.size(), (2, 2));
    drop(one);
    settle().await;
    assert_eq!(stand.desk.size(), (1, 1));
    drop(other);
    settle().await;
    assert_eq!(stand.desk.size(), (0, 0));
    stand.pass_on(&stand.directory.apply_namespace(&namespace("nothing")));
}
