//! What changes in the cluster changes for the pods.

use http::StatusCode;

use super::pods::compare;
use super::{Outcome, soon};
use crate::real::http::get;
use crate::sandbox::world::World;

/// A pod with a role of its own, to be added to `pods.yaml`.
const ADDED: &str = "
---
apiVersion: v1
kind: Pod
metadata:
  name: added
  namespace: shop
  annotations: {iam.amazonaws.com/role: orders}
spec: {containers: [{name: app, image: shop}]}
";

/// The pod's role becomes another, and then again what it was.
pub(super) async fn annotation(world: &World) -> Outcome {
    for role in ["orders", "catalog"] {
        world.stack.kube.annotate_pod("shop", "catalog-1", "iam.amazonaws.com/role", Some(role));
        soon(async || {
            let asked = world.ask_as("shop/catalog-1").await?;
            let expected = match role {
                "orders" => "arn:aws:sts::123456789012:assumed-role/orders/kiam-kiam",
                _ => "arn:aws:sts::123456789012:assumed-role/catalog/kiam-kiam",
            };
            compare("shop/catalog-1", Ok(expected), &asked)
        })
        .await?;
    }
    Ok(())
}

/// The pod asks at once, before anybody can have heard of it.
pub(super) async fn added(world: &mut World) -> Outcome {
    let file = world.pods_file().to_owned();
    let text = std::fs::read_to_string(&file).map_err(|error| error.to_string())?;
    std::fs::write(&file, text + ADDED).map_err(|error| error.to_string())?;
    world.follow_manifests();
    world.settle();
    let asked = world.ask_as("shop/added").await?;
    compare("shop/added", Ok("arn:aws:sts::123456789012:assumed-role/orders/kiam-kiam"), &asked)
}

/// The pod's address means nobody from then on.
pub(super) async fn deleted(world: &World) -> Outcome {
    let (node, address) = world.place_of("shop/added")?;
    let agent = node.agent.addresses().main;
    world.stack.kube.remove_pod("shop", "added");
    soon(async || {
        let answer = get(address, agent, "/latest/meta-data/iam/security-credentials/orders").await;
        match answer.status {
            StatusCode::NOT_FOUND => Ok(()),
            status => Err(format!("its address is answered {status}")),
        }
    })
    .await
}
