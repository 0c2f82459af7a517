//! Changes pods at a steady rate, each another, and takes down how long each took to reach its agent.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use kiam_tests::kube_api::KubeApi;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};

use crate::agents::Agents;
use crate::clock::now;
use crate::cluster;
use crate::size::Size;

/// How long the last changes may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The delays of all changes, in order of their length, in milliseconds; changes that nobody heard of are infinite.
pub(crate) async fn make(size: &Size, kube: &KubeApi, agents: &mut Agents) -> Vec<f64> {
    let total = size.pods.min(size.changes * size.seconds);
    let mut changed: HashMap<Ipv4Addr, u64> = HashMap::new();
    let mut delays = Vec::new();
    let mut ticks = interval(Duration::from_secs(1) / size.changes);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut last = Instant::now();
    for number in 0..total {
        loop {
            tokio::select! {
                biased;
                _ = ticks.tick() => break,
                heard = agents.heard() => take_down(heard, &mut changed, &mut delays),
            }
        }
        // All over the cluster, and no pod twice.
        let pod = u32::try_from(u64::from(number) * 7919 % u64::from(size.pods)).expect("a pod's number");
        changed.insert(cluster::ip(pod), now());
        let role = cluster::role((pod + 1) % size.roles);
        kube.annotate_pod(cluster::NAMESPACE, &cluster::pod(pod), "iam.amazonaws.com/role", Some(&role));
        last = Instant::now();
    }
    while !changed.is_empty() {
        let Ok(heard) = timeout_at(last + PATIENCE, agents.heard()).await else { break };
        take_down(heard, &mut changed, &mut delays);
    }
    delays.extend(changed.values().map(|_| f64::INFINITY));
    delays.sort_by(f64::total_cmp);
    delays
}

fn take_down((ip, at): (Ipv4Addr, u64), changed: &mut HashMap<Ipv4Addr, u64>, delays: &mut Vec<f64>) {
    if let Some(since) = changed.remove(&ip) {
        delays.push(Duration::from_nanos(at.saturating_sub(since)).as_secs_f64() * 1000.0);
    }
}
