//! However many ask for a role at once, STS is asked once; also when the one who asked first does not wait.

use std::net::IpAddr;
use std::time::Duration;

use futures_util::future::join_all;
use http::{Request, StatusCode};
use kiam_tests::real::eventually;
use kiam_tests::real::http::try_send;
use kiam_tests::real::namespace::{Pod, ROLE};
use kiam_tests::sts::{Fault, Scope, Sts};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::world::{BASE_ARN, CREDENTIALS, World};

const PODS: usize = 20;
const REQUESTS: usize = 1_000;

/// An STS that takes its time for `role`, and a server that fetches nothing ahead of the first request: its only
/// fetcher is busy with a role that STS never gives.
async fn slow_sts_and_no_prefetch(role: &str) -> (Sts, World, Vec<Pod>) {
    allow_as_many_descriptors_as_may_be();
    let sts = Sts::start().await.expect("a free port");
    let stuck = format!("stuck-{role}");
    sts.set_fault(Scope::Role(arn(&stuck)), Fault::Hang);
    sts.set_fault(Scope::Role(arn(role)), Fault::Delay(Duration::from_secs(1)));
    let world = World::with_flags(&sts.url(), |server| server.flag("--fetchers", 1), |agent| agent).await;
    let namespace = world.namespace(".*").await;
    namespace.run("stuck", &[(ROLE, stuck.as_str())]).await;
    eventually("the fetcher to be busy", async || (!sts.assumptions_of(&arn(&stuck)).is_empty()).then_some(())).await;
    let mut pods = Vec::new();
    for number in 0..PODS {
        pods.push(namespace.run(&format!("pod-{number}"), &[(ROLE, role)]).await);
    }
    (sts, world, pods)
}

/// A thousand connections are more descriptors than some machines give at first, here and in the agent, which inherits
/// the limit.
fn allow_as_many_descriptors_as_may_be() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).expect("up to the maximum is allowed");
}

fn arn(role: &str) -> String {
    format!("{BASE_ARN}{role}")
}

async fn ask(world: &World, pod: &Pod, role: &str) -> StatusCode {
    let request = Request::get(format!("{CREDENTIALS}{role}")).body(String::new()).expect("sound");
    try_send(IpAddr::V4(pod.ip), world.agent_addr(), request).await.expect("an answer").status
}

async fn all_are_answered(world: &World, pods: &[Pod], role: &str) {
    let answers = join_all((0..REQUESTS).map(|number| ask(world, &pods[number % PODS], role))).await;
    assert!(answers.iter().all(|status| *status == StatusCode::OK), "{answers:?}");
}

#[tokio::test]
async fn a_thousand_first_requests_make_one_call() {
    let (sts, world, pods) = slow_sts_and_no_prefetch("crowd").await;
    all_are_answered(&world, &pods, "crowd").await;
    assert_eq!(sts.assumptions_of(&arn("crowd")).len(), 1);
}

#[tokio::test]
async fn the_call_outlives_the_first_caller_who_hangs_up_after_five_milliseconds() {
    let (sts, world, pods) = slow_sts_and_no_prefetch("abandoned").await;
    // Counted from when its request has reached STS: before that, there is nothing to lose.
    let hung_up = async {
        eventually("the request to reach STS", async || {
            (!sts.assumptions_of(&arn("abandoned")).is_empty()).then_some(())
        })
        .await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    tokio::select! {
        status = ask(&world, &pods[0], "abandoned") => panic!("{status} before STS answered"),
        () = hung_up => {}
    }
    all_are_answered(&world, &pods, "abandoned").await;
    assert_eq!(sts.assumptions_of(&arn("abandoned")).len(), 1);
}
