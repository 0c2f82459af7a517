//! The gRPC side: [`kiam`] decodes, calls [`crate::issue`] and encodes; [`node`] supplies agents with what
//! [`crate::desk`] says; [`view`] tells [`operators`] of them and of pods; [`scrapers`] tells agents who may read
//! metrics; [`status`] is how errors leave; [`connection`] drives each connection. Health and server reflection (v1 and
//! v1alpha) stand beside the service.

mod activity;
pub mod connection;
pub mod connections;
mod deadline;
mod errand;
mod evidence;
pub mod fleet;
mod kiam;
mod lifetime;
pub mod node;
pub mod operators;
mod scrapers;
mod status;
#[cfg(test)]
mod tests;
mod view;

use std::sync::Arc;

use kiam_common::grpc_metrics::{CountedService, GrpcMetrics};
use kiam_common::ops::{Access, Readiness};
use kiam_common::shutdown::Shutdown;
use kiam_proto::FILE_DESCRIPTOR_SET;
use kiam_proto::encoding::kiam_service_server::KiamServiceServer;
use kiam_proto::encoding::node::fleet_server::FleetServer;
use kiam_proto::encoding::node::node_sync_server::NodeSyncServer;
use kiam_proto::encoding::node::scrapers_server::ScrapersServer;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};
use tower::Layer as _;

use crate::issue::Issuer;
use node::{Node, Supplier};
use scrapers::Gatekeeper;
pub use view::Outlook;
use view::View;

/// The names that health is known by: the server as a whole, and its services.
const HEALTH_NAMES: [&str; 3] = ["", "kiam.KiamService", "kiam.node.v1.NodeSync"];
/// The largest message of an agent on its stream, and of an operator, in bytes.
const LARGEST_NODE_MESSAGE: usize = 16 * 1024;

/// Every service, counted.
pub type Service = CountedService<Routes>;

/// The descriptors of every service: what the labels of the metrics are made of.
pub fn descriptors() -> [&'static [u8]; 4] {
    [
        FILE_DESCRIPTOR_SET,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
    ]
}

/// Puts the services together.
pub fn service(
    issuer: Arc<Issuer>,
    supplier: Arc<Supplier>,
    scrapers: Arc<dyn Access>,
    outlook: Outlook,
    health: &HealthReporter,
    metrics: &GrpcMetrics,
) -> Result<Service, tonic_reflection::server::Error> {
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let view = View { issuer: Arc::clone(&issuer), supplier: Arc::clone(&supplier), outlook };
    let fleet = FleetServer::new(view).max_decoding_message_size(LARGEST_NODE_MESSAGE);
    let nodes = NodeSyncServer::new(Node(supplier)).max_decoding_message_size(LARGEST_NODE_MESSAGE);
    let routes = Routes::new(KiamServiceServer::new(kiam::Kiam::new(issuer)))
        .add_service(nodes)
        .add_service(fleet)
        .add_service(ScrapersServer::new(Gatekeeper(scrapers)))
        .add_service(HealthServer::new(HealthService::from_health_reporter(health.clone())))
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?);
    Ok(metrics.layer().layer(routes.prepare()))
}

/// What `grpc.health.v1` shows before anything is known; the crate's own beginning would be SERVING.
pub async fn unhealthy() -> HealthReporter {
    let reporter = HealthReporter::new();
    report(&reporter, ServingStatus::NotServing).await;
    reporter
}

/// Keeps `grpc.health.v1` true: SERVING from readiness until the shutdown.
pub async fn keep_health(reporter: HealthReporter, readiness: Readiness, shutdown: Shutdown) {
    tokio::select! {
        () = readiness.ready() => report(&reporter, ServingStatus::Serving).await,
        () = shutdown.begun() => return,
    }
    shutdown.begun().await;
    report(&reporter, ServingStatus::NotServing).await;
}

async fn report(reporter: &HealthReporter, status: ServingStatus) {
    for name in HEALTH_NAMES {
        reporter.set_service_status(name, status).await;
    }
}
