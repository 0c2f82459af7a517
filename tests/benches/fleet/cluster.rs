//! The cluster: pods spread over nodes and roles by their numbers.

use std::net::Ipv4Addr;

use kiam_tests::kube_api::{KubeApi, Pod};
use kiam_tests::real::http::{LOCALHOST, get};
use kiam_tests::stack::Stack;
use tokio::time::sleep;

use crate::size::Size;

pub(crate) const NAMESPACE: &str = "apps";
const PAUSE: std::time::Duration = std::time::Duration::from_millis(5);

/// Every pod, on every node.
pub(crate) fn fill(kube: &KubeApi, size: &Size) {
    kube.put_namespace(NAMESPACE, &[("iam.amazonaws.com/permitted", ".*")]);
    for number in 0..size.pods {
        let (node, role) = (node(number % size.nodes), role(number % size.roles));
        kube.put_pod(&Pod::new(NAMESPACE, &pod(number), &node, &ip(number).to_string(), &role));
    }
}

/// A pod's name, as long as a Deployment makes it.
pub(crate) fn pod(number: u32) -> String {
    format!("service-{:04}-7d9f8b6c5d-{number:06}", number % 1000)
}

pub(crate) fn node(number: u32) -> String {
    format!("ip-10-{}-{}.eu-west-1.compute.internal", number / 256, number % 256)
}

pub(crate) fn role(number: u32) -> String {
    format!("service-{number:04}")
}

pub(crate) fn ip(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(100, 64, 0, 0)) + number)
}

/// Waits until the server has listed the cluster.
pub(crate) async fn until_listed(stack: &Stack) {
    while !get(LOCALHOST, stack.server.addresses().ops, "/ready").await.status.is_success() {
        sleep(PAUSE).await;
    }
}

/// Waits until the server has credentials of every role.
pub(crate) async fn until_credentials_are_there(stack: &Stack, size: &Size) {
    let wanted = usize::try_from(size.roles.min(size.pods)).expect("a small number");
    while stack.sts.issued().len() < wanted {
        sleep(PAUSE).await;
    }
}
