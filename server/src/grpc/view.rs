//! `kiam.node.v1.Fleet`: what operators see of the nodes and pods, and agents of their own.

use std::sync::Arc;

use futures_util::stream::{self, BoxStream, StreamExt as _};
use kiam_common::ops::Endpoint;
use kiam_common::report::{Step, Verdict};
use kiam_proto::encoding::node as wire;
use kiam_proto::encoding::node::explain_request::Pod as Asked;
use tonic::{Request, Response, Status};

use super::evidence::evidence;
use super::fleet::VERSION;
use super::node::Supplier;
use super::operators::Operators;
use super::status::status;
use crate::directory::sighting::{Sighting, Subject};
use crate::error::Error;
use crate::explain::{self, Facts};
use crate::fleet_metrics::Collector;
use crate::issue::Issuer;
use crate::node_binding::BindingError;
use crate::peers::{Answer, Peers};
use crate::policy::node::Caller;

/// The longest name of a Kubernetes object.
const LONGEST_NAME: usize = 253;

/// The service.
pub(super) struct View {
    pub(super) issuer: Arc<Issuer>,
    pub(super) supplier: Arc<Supplier>,
    pub(super) outlook: Outlook,
}

/// What is told beside what this server knows of pods and nodes, and to whom.
#[derive(Debug)]
pub struct Outlook {
    /// Who sees everything.
    pub operators: Operators,
    /// Where this server's own metrics are, if anywhere.
    pub metrics: Option<Endpoint>,
    /// The other servers, if there are any.
    pub peers: Option<Arc<Peers>>,
    /// The agents' series.
    pub collector: Arc<Collector>,
}

/// Who looks.
#[derive(Debug)]
enum Viewer {
    Operator,
    Agent(Caller),
}

#[tonic::async_trait]
impl wire::fleet_server::Fleet for View {
    type CollectMetricsStream = BoxStream<'static, Result<wire::CollectedMetrics, Status>>;

    async fn list_nodes(
        &self,
        request: Request<wire::ListNodesRequest>,
    ) -> Result<Response<wire::ListNodesResponse>, Status> {
        let mut nodes = self.supplier.fleet.list();
        if !self.sees_every_node(&request) {
            let binding = &self.issuer.node_binding;
            let agent = binding.caller(evidence(&request)).await.map_err(|error| status(&error.into()))?;
            nodes.retain(|node| binding.covers(&agent, Some(&node.name)));
        }
        let peers = match &self.outlook.peers {
            Some(peers) if request.get_ref().whole_fleet && self.outlook.operators.include(&request) => {
                peers.nodes().await
            }
            Some(_) | None => Arc::default(),
        };
        Ok(Response::new(wire::ListNodesResponse {
            nodes,
            server_version: VERSION.into(),
            waiting_for: self.supplier.readiness.waiting_for().into_iter().map(Into::into).collect(),
            instance: self.supplier.fleet.instance().into(),
            metrics: self.outlook.metrics.as_ref().map(endpoint),
            peers: peers.iter().map(peer).collect(),
        }))
    }

    async fn collect_metrics(
        &self,
        request: Request<wire::CollectMetricsRequest>,
    ) -> Result<Response<Self::CollectMetricsStream>, Status> {
        if !self.sees_every_node(&request) {
            return Err(Status::permission_denied("expected an operator's certificate, or another server's"));
        }
        let pieces = self.outlook.collector.pieces(request.get_ref().per_node).await;
        Ok(Response::new(stream::iter(pieces.map(Ok)).boxed()))
    }

    async fn explain(&self, request: Request<wire::ExplainRequest>) -> Result<Response<wire::Explanation>, Status> {
        let viewer = self.viewer(&request).await.map_err(|error| status(&error))?;
        let explained = self.explained(&viewer, request.into_inner().pod);
        explained.map(Response::new).map_err(|error| status(&error))
    }
}

impl View {
    /// Whether the caller sees all nodes and their agents' series: operators do, and other servers.
    fn sees_every_node<M>(&self, request: &Request<M>) -> bool {
        self.outlook.operators.include(request) || self.outlook.operators.include_as_server(request)
    }

    /// Who looks at a pod: other servers are nobody here.
    async fn viewer<M: Sync>(&self, request: &Request<M>) -> Result<Viewer, Error> {
        if self.outlook.operators.include(request) {
            return Ok(Viewer::Operator);
        }
        Ok(Viewer::Agent(self.issuer.node_binding.caller(evidence(request)).await?))
    }

    /// An agent sees what it may ask for.
    fn sees(&self, viewer: &Viewer, node: Option<&str>) -> bool {
        match viewer {
            Viewer::Operator => true,
            Viewer::Agent(caller) => self.issuer.node_binding.covers(caller, node),
        }
    }

    fn explained(&self, viewer: &Viewer, asked: Option<Asked>) -> Result<wire::Explanation, Error> {
        Error::unless_ready(&self.issuer.readiness)?;
        let sighting = self.issuer.directory.sighting(&subject(asked)?);
        let pod = match &sighting {
            Sighting::Known(known) => Some(&known.pod),
            Sighting::Unknown | Sighting::Apart(_) | Sighting::Shared(_) => None,
        };
        let node = pod.and_then(|pod| pod.node.clone());
        // Whether a pod of another node exists is not for an agent to know.
        if !self.sees(viewer, node.as_deref()) {
            return Err(BindingError::WrongNode.into());
        }
        let role = pod.and_then(|pod| pod.role.annotated().ok());
        let standing = role.and_then(|role| self.issuer.vault.standing(&role.identity));
        let agent = node.and_then(|node| self.supplier.fleet.agent_of(&node));
        let supplied_here = agent.is_some();
        let steps = explain::steps(&Facts { standing, agent, now: self.supplier.clock.now(), sighting });
        Ok(wire::Explanation { steps: steps.into_iter().map(to_wire).collect(), supplied_here })
    }
}

fn endpoint(endpoint: &Endpoint) -> wire::MetricsEndpoint {
    let Endpoint { address, path, tls } = endpoint;
    wire::MetricsEndpoint { address: address.to_string(), path: path.to_string(), tls: *tls }
}

fn peer(answer: &Answer) -> wire::Peer {
    let (said, error) = match &answer.said {
        Ok((_, said)) => (Some(said.clone()), String::new()),
        Err(why) => (None, why.clone()),
    };
    wire::Peer { address: answer.at.clone(), said, error }
}

fn subject(asked: Option<Asked>) -> Result<Subject, Error> {
    match asked {
        Some(Asked::Ip(ip)) => ip.parse().map(Subject::At).map_err(|_| Error::BadIp(ip.chars().take(64).collect())),
        Some(Asked::Name(wire::PodName { namespace, name })) if is_name(&namespace) && is_name(&name) => {
            Ok(Subject::Named { namespace, name })
        }
        Some(Asked::Name(_)) | None => Err(Error::BadSubject),
    }
}

fn is_name(text: &str) -> bool {
    (1..=LONGEST_NAME).contains(&text.len())
}

fn to_wire(step: Step) -> wire::Step {
    let Step { check, verdict, found, advice } = step;
    let outcome = match verdict {
        Verdict::Good => wire::Outcome::Good,
        Verdict::Bad => wire::Outcome::Bad,
        Verdict::Doubtful => wire::Outcome::Doubtful,
        Verdict::Skipped => wire::Outcome::Skipped,
    };
    wire::Step { check, outcome: outcome.into(), found, advice }
}
