//! What gets to the instance metadata service, and what does not.

use crate::imds::INSTANCE_ID;
use crate::real::http::get;
use crate::sandbox::world::World;

use super::Outcome;

/// Asks, as a pod, for what it may read and for what it may not.
pub(super) async fn metadata(world: &World) -> Outcome {
    let (node, address) = world.place_of("shop/plain")?;
    let agent = node.agent.addresses().main;
    let allowed = get(address, agent, "/latest/meta-data/instance-id").await;
    if allowed.body != INSTANCE_ID {
        return Err(format!("the instance id was answered {} {:?}", allowed.status, allowed.body));
    }
    for path in [
        "/latest/user-data",
        "/latest/dynamic/instance-identity/document",
        "/latest/meta-data/iam/info",
        "/latest/meta-data/iam/security-credentials/node-role-no-pod-may-have",
        "/latest/meta-data/instance-id/../iam/info",
        "/latest/meta-data/%69am/info",
    ] {
        let answer = get(address, agent, path).await;
        if answer.status.is_success() {
            return Err(format!("{path} was answered {}", answer.status));
        }
    }
    let passed_on = world.stack.imds.seen();
    match passed_on.iter().find(|seen| seen.target.contains("iam") || seen.target.contains("user-data")) {
        None => Ok(()),
        Some(seen) => Err(format!("{} reached the instance metadata service", seen.target)),
    }
}
