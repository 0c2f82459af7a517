//! The calls that an agent makes for what its ledger does not say, answered by the server of its stream.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use kiam_common::ops::Readiness;
use kiam_common::reason::Reason;
use kiam_common::registry::Registry;
use kiam_common::shutdown::Shutdown;
use kiam_server::events::Recorder;
use kiam_server::events::fake::FakeEvents;
use kiam_server::issue::{Asked, Issuer};
use kiam_server::metrics::{BindingMetrics, EventMetrics, RequestMetrics};
use kiam_server::node_binding::{Mode, NodeBinding};
use kiam_server::policy::node::Caller;

use crate::cluster::node_name;
use crate::server::Server;

/// How long a pod waits.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a server gives the pod at an address of a node that asks for a role: the access key, or why there is none.
pub(crate) async fn credentials(by: &Issuer, node: usize, ip: IpAddr, role: &str) -> Result<String, Reason> {
    let caller = Caller::Node(node_name(node).into());
    let asked = Asked { caller: &caller, ip: &ip.to_string(), patience: PATIENCE };
    match by.credentials(asked, role).await {
        Ok(issued) => Ok(issued.what.credentials.access_key_id.clone()),
        Err(error) => Err(error.reason()),
    }
}

/// What answers the calls to a server.
pub(crate) fn issuer(server: &Server) -> Issuer {
    let registry = Registry::new();
    let binding = BindingMetrics::new(&registry).expect("metrics");
    let metrics = EventMetrics::new(&registry).expect("metrics");
    // Nobody writes the events.
    let (events, _) = Recorder::new(Arc::new(FakeEvents::default()), server.clock.clone(), metrics, Shutdown::new());
    Issuer {
        readiness: Readiness::default(),
        node_binding: Arc::new(NodeBinding::new(Mode::PeerIp, Arc::clone(&server.directory), binding)),
        directory: Arc::clone(&server.directory),
        resolver: server.resolver.clone(),
        vault: Arc::clone(&server.vault),
        events,
        metrics: RequestMetrics::new(&registry, &[]).expect("metrics"),
    }
}
