//! The applications in the pods: each running pod has one, which asks for credentials again and again.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::sdk::{self, Asked};
use crate::stack::{Node, Relay, Stack};

/// Every pod of the cluster and the application in it.
pub(super) struct Fleet {
    every: Duration,
    pods: BTreeMap<PodName, Pod>,
}

/// `namespace/name`.
type PodName = String;

struct Pod {
    uid: String,
    node: String,
    address: String,
    role: String,
    application: Option<Application>,
}

struct Application {
    relay: SocketAddr,
    latest: watch::Receiver<Option<Asked>>,
    _asking: AbortOnDropHandle<()>,
}

/// What there is to see of a pod.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) pod: PodName,
    pub(super) node: String,
    pub(super) address: String,
    /// The text of the annotation.
    pub(super) role: String,
    /// How its last request ended; none if there was none yet.
    pub(super) latest: Option<Asked>,
}

impl Fleet {
    /// No applications yet; each will ask this often.
    pub(super) fn new(every: Duration) -> Self {
        Self { every, pods: BTreeMap::new() }
    }

    /// Starts the applications of new pods and ends those of pods that have gone.
    pub(super) async fn follow(&mut self, stack: &Stack) {
        let mut followed = BTreeMap::new();
        for object in stack.kube.pods() {
            let (name, mut pod) = read(&object);
            if let Some(known) = self.pods.remove(&name).filter(|known| known.uid == pod.uid) {
                pod.application = known.application;
            }
            if pod.application.is_none() && object["status"]["phase"] == "Running" {
                pod.application = self.start(&pod, stack).await;
            }
            followed.insert(name, pod);
        }
        self.pods = followed;
    }

    /// All pods by name.
    pub(super) fn rows(&self) -> Vec<Row> {
        let row = |(name, pod): (&PodName, &Pod)| Row {
            pod: name.clone(),
            node: pod.node.clone(),
            address: pod.address.clone(),
            role: pod.role.clone(),
            latest: pod.application.as_ref().and_then(|application| application.latest.borrow().clone()),
        };
        self.pods.iter().map(row).collect()
    }

    /// The metadata endpoint of a pod that is served.
    pub(super) fn relay_of(&self, pod: &str) -> Option<SocketAddr> {
        Some(self.pods.get(pod)?.application.as_ref()?.relay)
    }

    async fn start(&self, pod: &Pod, stack: &Stack) -> Option<Application> {
        let relay = relay(&pod.node, &pod.address, &stack.nodes).await?;
        let (tell, latest) = watch::channel(None);
        let asking = ask_again_and_again(relay.addr(), stack.sts.url(), self.every, tell);
        let addr = relay.addr();
        let asking = tokio::spawn(async move {
            let _open = relay;
            asking.await;
        });
        Some(Application { relay: addr, latest, _asking: AbortOnDropHandle::new(asking) })
    }
}

/// A relay for the pod at `address`, if it is on one of the nodes.
pub(super) async fn relay(node: &str, address: &str, nodes: &[Node]) -> Option<Relay> {
    let node = nodes.iter().find(|one| one.name == node)?;
    let address: IpAddr = address.parse().ok()?;
    Relay::start(address, node.agent.addresses().main).await.ok()
}

async fn ask_again_and_again(relay: SocketAddr, sts_url: String, every: Duration, tell: watch::Sender<Option<Asked>>) {
    loop {
        tell.send_replace(Some(sdk::ask(relay, &sts_url).await));
        tokio::time::sleep(every).await;
    }
}

fn read(object: &Value) -> (PodName, Pod) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let metadata = &object["metadata"];
    let name = format!("{}/{}", text(&metadata["namespace"]), text(&metadata["name"]));
    let pod = Pod {
        uid: text(&metadata["uid"]),
        node: text(&object["spec"]["nodeName"]),
        address: text(&object["status"]["podIP"]),
        role: text(&metadata["annotations"]["iam.amazonaws.com/role"]),
        application: None,
    };
    (name, pod)
}
