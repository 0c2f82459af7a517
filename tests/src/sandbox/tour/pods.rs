//! What the pods of the sandbox's own `pods.yaml` get.

use futures_util::future::join_all;

use super::Outcome;
use crate::imds::NODE_ROLE;
use crate::real::http;
use crate::sandbox::sdk::Asked;
use crate::sandbox::world::{World, role_arn};

/// Who AWS says a pod is, or the status of the agent's refusal.
type Expected = Result<&'static str, u16>;

const EXPECTED: [(&str, Expected); 7] = [
    ("shop/catalog-1", Ok("arn:aws:sts::123456789012:assumed-role/catalog/kiam-kiam")),
    ("shop/catalog-2", Ok("arn:aws:sts::123456789012:assumed-role/catalog/kiam-kiam")),
    ("shop/export", Ok("arn:aws:sts::210987654321:assumed-role/export/kiam-kiam")),
    ("billing/invoices", Ok("arn:aws:sts::123456789012:assumed-role/billing-writer/kiam-invoices")),
    ("playground/curious", Err(403)),
    ("shop/plain", Err(404)),
    ("shop/untrusted", Err(502)),
];

/// Every pod gets what it should.
pub(super) async fn all(world: &World) -> Outcome {
    let asked = join_all(EXPECTED.map(|(pod, expected)| async move {
        let asked = world.ask_as(pod).await?;
        compare(pod, expected, &asked)
    }));
    asked.await.into_iter().collect()
}

/// Asks, as each pod, for the roles of the others, and of the node, by name.
pub(super) async fn others(world: &World) -> Outcome {
    let roles = ["catalog", "arn:aws:iam::210987654321:role/partners/export", "billing-writer", NODE_ROLE];
    let asked = join_all(EXPECTED.map(|(pod, own)| async move {
        let is_own = |role: &str| own.is_ok_and(|own| own.contains(&format!("/{}/", last_segment(role))));
        for role in roles.into_iter().filter(|role| !is_own(role)) {
            refused(world, pod, role).await?;
        }
        Ok(())
    }));
    asked.await.into_iter().collect()
}

async fn refused(world: &World, pod: &str, role: &str) -> Outcome {
    let (node, address) = world.place_of(pod)?;
    let path = format!("/latest/meta-data/iam/security-credentials/{role}");
    let answer = http::get(address, node.agent.addresses().main, &path).await;
    if answer.status.is_success() { Err(format!("{pod} got {role}")) } else { Ok(()) }
}

/// The two pods with one role have one session.
pub(super) async fn shared(world: &World) -> Outcome {
    let (one, other) = (world.ask_as("shop/catalog-1").await?, world.ask_as("shop/catalog-2").await?);
    let key = |asked: Asked| asked.outcome.map(|granted| granted.access_key_id).map_err(|refused| refused.why);
    if key(one)? != key(other)? {
        return Err("they have different access keys".into());
    }
    let assumed = world.stack.sts.assumptions_of(&role_arn("catalog")).len();
    if assumed == 1 { Ok(()) } else { Err(format!("the role was assumed {assumed} times")) }
}

/// What was said to STS on behalf of the pod that has something to say.
pub(super) fn details(world: &World) -> Outcome {
    let calls = world.stack.sts.assumptions_of(&role_arn("billing-writer"));
    let call = calls.iter().find(|call| call.session_name == "kiam-invoices").ok_or("no such session name")?;
    if call.external_id.as_deref() != Some("tenant-42") {
        return Err(format!("the external id was {:?}", call.external_id));
    }
    match calls.iter().find(|call| call.session_name != "kiam-invoices") {
        None => Ok(()),
        Some(other) => Err(format!("the role was assumed as {} too", other.session_name)),
    }
}

/// Compares what a pod got with what it should.
pub(super) fn compare(pod: &str, expected: Expected, asked: &Asked) -> Outcome {
    match (&asked.outcome, expected) {
        (Ok(granted), Ok(identity)) if granted.identity == identity => Ok(()),
        (Err(refused), Err(status)) if refused.status == Some(status) => Ok(()),
        (got, _) => Err(format!("{pod}: expected {expected:?}, got {got:?}")),
    }
}

fn last_segment(role: &str) -> &str {
    role.rsplit('/').next().unwrap_or_default()
}
