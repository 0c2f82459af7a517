//! Everything that exists in the server, built from top to bottom. [`run`] is the program; tests [`start`] the same
//! thing on port 0.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use kiam_common::args::{Invocation, USAGE_EXIT_CODE, exit_with_usage, parse_or_exit};
use kiam_common::clock::Clock;
use kiam_common::grpc_metrics::GrpcMetrics;
use kiam_common::listen::listen;
use kiam_common::ops::{Access, Endpoint, Ops, OpsError, Pprof, Readiness, Reviewed};
use kiam_common::registry::Registry;
use kiam_common::review::ReviewMetrics;
use kiam_common::role::ArnError;
use kiam_common::shutdown::Shutdown;
use kiam_common::tls::{Identity, Side, TlsError, accept, install_crypto_provider};
use kiam_common::{health, telemetry};
use kube::client::ClientBuilder;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use prometheus::IntGauge;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::task::TaskTracker;
use tower::BoxError;
use tower::util::MapResultLayer;

use crate::args::ServerArgs;
use crate::command::ServerCommand;
use crate::config::{BaseArnSource, Config, NamespacePolicySetting, NodeBindingSetting};
use crate::desk::{self, Desk};
use crate::directory::Directory;
use crate::directory::watch::{self, Feed};
use crate::events::Recorder;
use crate::events::kubernetes::KubernetesEvents;
use crate::fleet_metrics::Collector;
use crate::grpc::connections::Connections;
use crate::grpc::fleet::Fleet;
use crate::grpc::node::Supplier;
use crate::grpc::operators::Operators;
use crate::grpc::{self, Outlook, connection};
use crate::issue::Issuer;
use crate::metrics::{
    self, BindingMetrics, EventMetrics, FleetMetrics, PeerMetrics, RequestMetrics, StartupTaintMetrics, StreamMetrics,
    VaultMetrics, WatchMetrics,
};
use crate::node_binding::kubernetes::KubernetesReviews;
use crate::node_binding::tokens::Tokens;
use crate::node_binding::unbound::Unbound;
use crate::node_binding::{Mode, NodeBinding};
use crate::peers::{OverGrpc, Peers};
use crate::policy::namespace::NamespacePolicy;
use crate::role::autodetect::{self, AutodetectError};
use crate::role::resolver::{BaseArn, Resolver};
use crate::scrapers::KubernetesScrapers;
use crate::startup_taint::StartupTaint;
use crate::startup_taint::kubernetes::KubernetesNodes;
use crate::sts::aws::{AwsSts, Settings};
use crate::vault::{Vault, upkeep};

/// Why the server did not start. One line each.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The certificate files are not as expected.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// An address cannot be listened on.
    #[error(transparent)]
    Listen(io::Error),
    /// There is no listener for operators.
    #[error(transparent)]
    Ops(#[from] OpsError),
    /// There is no way to the Kubernetes API.
    #[error("--kubeconfig: {0}")]
    Kubeconfig(String),
    /// The Kubernetes client cannot be built.
    #[error("cannot make a Kubernetes client: {0}")]
    Kubernetes(#[from] kube::Error),
    /// The base ARN cannot be detected.
    #[error(transparent)]
    Autodetect(#[from] AutodetectError),
    /// The role to assume first cannot be resolved.
    #[error("--assume-role-arn: {0}")]
    AssumeRole(ArnError),
    /// The metrics cannot be registered: a defect.
    #[error("cannot register the metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// The descriptors cannot be read: a defect.
    #[error("cannot build server reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
}

impl StartError {
    /// 2 for what the user gave wrong, 1 otherwise.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Listen(error) | Self::Ops(OpsError::Listen(error))
                if matches!(error.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied) =>
            {
                1
            }
            Self::Ops(OpsError::Metrics(_))
            | Self::Kubernetes(_)
            | Self::Autodetect(_)
            | Self::Metrics(_)
            | Self::Reflection(_) => 1,
            Self::Tls(_) | Self::Listen(_) | Self::Ops(_) | Self::Kubeconfig(_) | Self::AssumeRole(_) => {
                USAGE_EXIT_CODE
            }
        }
    }
}

/// A part of the server ended before it was told to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a part of the server ended before its time")]
pub struct Broken;

/// A server that serves.
#[derive(Debug)]
pub struct Running {
    /// Where agents connect.
    pub grpc_addr: SocketAddr,
    /// Where `/metrics` is, unless it is turned off.
    pub ops_addr: Option<SocketAddr>,
    supervisor: JoinHandle<Result<(), Broken>>,
}

impl Running {
    /// Waits until everything has ended after the shutdown.
    pub async fn finished(self) -> Result<(), Broken> {
        self.supervisor.await.unwrap_or(Err(Broken))
    }
}

/// The program: reads the command line, serves until SIGTERM.
pub fn run() -> ExitCode {
    install_crypto_provider();
    let invocation = parse_or_exit::<Invocation<ServerArgs, ServerCommand>>("server");
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&format!("cannot start the runtime: {error}"), 1),
    };
    match invocation {
        Invocation::Health(args) => runtime.block_on(health::run(*args)),
        Invocation::Run(args) => runtime.block_on(serve(args)),
        Invocation::Command(command) => runtime.block_on(command.run()),
    }
}

async fn serve(args: ServerArgs) -> ExitCode {
    let exporting = telemetry::start(&args.log, "kiam-server").await;
    let exporting = exporting.unwrap_or_else(|error| exit_with_usage(error));
    let config = Config::try_from(args).unwrap_or_else(|error| exit_with_usage(error));
    let shutdown = Shutdown::new();
    let running = match start(config, shutdown.clone()).await {
        Ok(running) => running,
        Err(error) => return failed(&error.to_string(), error.exit_code()),
    };
    let ops_addr = running.ops_addr.map(tracing::field::display);
    tracing::info!(grpc_addr = %running.grpc_addr, ops_addr, "serving");
    if let Err(error) = shutdown.begin_on_signal().await {
        return failed(&format!("cannot wait for signals: {error}"), 1);
    }
    let finished = running.finished().await;
    exporting.finish().await;
    match finished {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error.to_string(), 1),
    }
}

fn failed(line: &str, code: u8) -> ExitCode {
    eprintln!("error: {line}");
    ExitCode::from(code)
}

/// Builds and starts everything. It ends when `shutdown` begins: calls under way first, the operators' listeners last.
pub async fn start(config: Config, shutdown: Shutdown) -> Result<Running, StartError> {
    let outside = Outside::reach(&config).await?;
    let base_arn = base_arn(&config.base_arn).await?;
    let resolver = Resolver::new(base_arn.clone(), config.session.clone());
    let directory = Arc::new(Directory::new(resolver.clone(), namespace_policy(config.namespace_policy, base_arn)));

    let Outside { clock, registry, readiness, identity, ops, pprof, listener, kubernetes } = outside;
    identity.register(&registry, Side::Server, &clock)?;
    let sts = Arc::new(AwsSts::new(&sts_settings(&config, &resolver)?, clock.clone()).await);
    let vault_metrics = VaultMetrics::new(&registry)?;
    let vault = Vault::new(sts, clock.clone(), Arc::clone(&directory), &config.vault, vault_metrics);
    let vault = Arc::new(vault);
    metrics::sizes(&registry, &directory)?;
    metrics::census(&registry, &vault)?;
    metrics::roles(&registry, &vault, &config.costly)?;
    let desk = Arc::new(Desk::new(Arc::clone(&directory), Arc::clone(&vault)));
    let fleet = Arc::<Fleet>::default();
    metrics::fleet(&registry, &fleet, &config.costly)?;

    let background = Shutdown::new();
    let mut tasks = JoinSet::new();
    tasks.spawn(upkeep::keep(Arc::clone(&vault), background.clone()));
    tasks.spawn(desk::keep(Arc::clone(&desk), background.clone()));
    let feed = Feed {
        directory: Arc::clone(&directory),
        vault: Arc::clone(&vault),
        desk: Arc::clone(&desk),
        metrics: WatchMetrics::new(&registry, &watch::RESOURCES)?,
    };
    keep_watch(&mut tasks, &kubernetes, &feed, &readiness, &background);
    take_startup_taints(&mut tasks, &config, &kubernetes, &fleet, &registry, &background)?;
    let sink = Arc::new(KubernetesEvents::new(kubernetes.clone()));
    let binding_metrics = BindingMetrics::new(&registry)?;
    let scrapers = scrapers(kubernetes.clone(), &clock, &registry)?;
    let outlook = outlook(&config, &identity, &fleet, &registry, ops.as_ref().map(Ops::endpoint))?;
    let (auth, collector) = (config.ops.metrics.auth(), Arc::clone(&outlook.collector));
    let ops = ops.map(|ops| ops.guarded_by(Arc::clone(&scrapers), auth).with_fleet(collector));
    let mode = binding_mode(config.node_binding, kubernetes, &clock, &binding_metrics);
    let node_binding = Arc::new(NodeBinding::new(mode, Arc::clone(&directory), binding_metrics));
    let (events, recording) = Recorder::new(sink, clock.clone(), EventMetrics::new(&registry)?, background.clone());
    tasks.spawn(recording);
    tasks.spawn(Arc::clone(&identity).keep_current(background.clone()));

    let metrics = RequestMetrics::new(&registry, &config.costly)?;
    let streams = StreamMetrics::new(&registry)?;
    let supplier = Supplier {
        readiness: readiness.clone(),
        node_binding: Arc::clone(&node_binding),
        desk,
        clock,
        fleet,
        metrics: streams,
        shutdown: shutdown.clone(),
    };
    let issuer = Issuer { readiness: readiness.clone(), node_binding, directory, resolver, vault, events, metrics };
    let health = grpc::unhealthy().await;
    let counted = GrpcMetrics::server(&registry, &grpc::descriptors())?;
    let service = grpc::service(Arc::new(issuer), Arc::new(supplier), scrapers, outlook, &health, &counted)?;
    tasks.spawn(grpc::keep_health(health, readiness, shutdown.clone()));
    let (grpc_addr, ops_addr) = (listener.local_addr().map_err(StartError::Listen)?, ops.as_ref().map(Ops::local_addr));
    let incoming = accept(listener, identity, shutdown.clone());
    let connections = Arc::<Connections>::default();
    metrics::connections(&registry, &connections)?;
    let serving = connection::serve(incoming, service, config.connections, connections, shutdown.clone());
    let serving = tokio::spawn(serving);
    let supervisor = tokio::spawn(supervise(Parts { serving, tasks, background, ops, pprof }, shutdown));
    Ok(Running { grpc_addr, ops_addr, supervisor })
}

/// What the server has of the machine and the cluster: files read, ports bound, clients built.
struct Outside {
    clock: Clock,
    registry: Registry,
    readiness: Readiness,
    identity: Arc<Identity>,
    ops: Option<Ops>,
    pprof: Option<Pprof>,
    listener: TcpListener,
    kubernetes: kube::Client,
}

impl Outside {
    async fn reach(config: &Config) -> Result<Self, StartError> {
        let (registry, readiness) = (Registry::new(), Readiness::default());
        Ok(Self {
            identity: Identity::load(&config.tls).await?,
            ops: Ops::bind(&config.ops, registry.clone(), readiness.clone()).await?,
            pprof: Pprof::bind(&config.ops).await?,
            listener: listen("--bind", &config.bind).await.map_err(StartError::Listen)?,
            kubernetes: kubernetes(config.kubeconfig.as_deref(), metrics::kubernetes_reachable(&registry)?).await?,
            clock: Clock::system(),
            registry,
            readiness,
        })
    }
}

/// What runs, in the order in which it ends.
struct Parts {
    serving: JoinHandle<()>,
    tasks: JoinSet<()>,
    background: Shutdown,
    ops: Option<Ops>,
    pprof: Option<Pprof>,
}

async fn supervise(mut parts: Parts, shutdown: Shutdown) -> Result<(), Broken> {
    let (operators, operators_shutdown) = (TaskTracker::new(), Shutdown::new());
    if let Some(ops) = parts.ops {
        operators.spawn(ops.serve_apart(operators_shutdown.clone()));
    }
    if let Some(pprof) = parts.pprof {
        operators.spawn(pprof.serve(operators_shutdown.clone()));
    }
    operators.close();
    let outcome = tokio::select! {
        biased;
        () = shutdown.begun() => Ok(()),
        _ended = parts.tasks.join_next() => Err(Broken),
    };
    shutdown.begin();
    let served = parts.serving.await.map_err(|_| Broken);
    parts.background.begin();
    while parts.tasks.join_next().await.is_some() {}
    operators_shutdown.begin();
    operators.wait().await;
    outcome.and(served)
}

/// `reachable` is 1 while the API answers.
async fn kubernetes(kubeconfig: Option<&Path>, reachable: IntGauge) -> Result<kube::Client, StartError> {
    let config = kubernetes_config(kubeconfig).await?;
    let outcome = move |outcome: Result<http::Response<_>, BoxError>| {
        let has_answered = outcome.as_ref().is_ok_and(|answer| !answer.status().is_server_error());
        reachable.set(has_answered.into());
        outcome
    };
    Ok(ClientBuilder::try_from(config)?.with_layer(&MapResultLayer::new(outcome)).build())
}

/// The way to the Kubernetes API: by a file, or inside a cluster.
pub(crate) async fn kubernetes_config(kubeconfig: Option<&Path>) -> Result<kube::Config, StartError> {
    let Some(file) = kubeconfig else {
        let outside = |error| StartError::Kubeconfig(format!("not given, and this is not inside a cluster: {error}"));
        return kube::Config::incluster().map_err(outside);
    };
    let unusable = |error| StartError::Kubeconfig(format!("{}: {}", file.display(), told(&error)));
    let kubeconfig = Kubeconfig::read_from(file).map_err(unusable)?;
    kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.map_err(unusable)
}

/// kube's report of a file that it cannot parse shows the file, and in it perhaps a token.
fn told(error: &KubeconfigError) -> String {
    match error {
        KubeconfigError::Parse(_) => "expected a kubeconfig in YAML or JSON".into(),
        told => format!("{told}; expected a kubeconfig file"),
    }
}

async fn base_arn(source: &BaseArnSource) -> Result<BaseArn, StartError> {
    match source {
        BaseArnSource::Given(base) => Ok(base.clone()),
        BaseArnSource::Autodetect => Ok(autodetect::base_arn().await?),
    }
}

fn namespace_policy(setting: NamespacePolicySetting, base: BaseArn) -> NamespacePolicy {
    match setting {
        NamespacePolicySetting::Permitted { anchored } => NamespacePolicy::Permitted { anchored },
        NamespacePolicySetting::Kube2iam => NamespacePolicy::Kube2iam { base },
    }
}

fn binding_mode(
    setting: NodeBindingSetting,
    kubernetes: kube::Client,
    clock: &Clock,
    metrics: &BindingMetrics,
) -> Mode {
    match setting {
        NodeBindingSetting::Off => Mode::Off(Unbound::new(metrics.clone())),
        NodeBindingSetting::PeerIp => Mode::PeerIp,
        NodeBindingSetting::Token { audience } => {
            let reviews = Arc::new(KubernetesReviews::new(kubernetes));
            Mode::Token(Tokens::new(reviews, audience, clock.clone(), metrics.reviews.clone()))
        }
    }
}

/// What feeds the directory.
fn keep_watch(
    tasks: &mut JoinSet<()>,
    kubernetes: &kube::Client,
    feed: &Feed,
    readiness: &Readiness,
    background: &Shutdown,
) {
    let (pods_listed, namespaces_listed) = (readiness.blocker("pods"), readiness.blocker("namespaces"));
    tasks.spawn(watch::pods(kubernetes.clone(), feed.clone(), pods_listed, background.clone()));
    tasks.spawn(watch::namespaces(kubernetes.clone(), feed.clone(), namespaces_listed, background.clone()));
}

/// What takes startup taints away, if there is one to take.
fn take_startup_taints(
    tasks: &mut JoinSet<()>,
    config: &Config,
    kubernetes: &kube::Client,
    fleet: &Arc<Fleet>,
    registry: &Registry,
    background: &Shutdown,
) -> Result<(), prometheus::Error> {
    if let Some(key) = config.startup_taint.clone() {
        let (nodes, fleet) = (Arc::new(KubernetesNodes::new(kubernetes.clone())), Arc::clone(fleet));
        let taint = StartupTaint::new(key, nodes, StartupTaintMetrics::new(registry)?);
        tasks.spawn(taint.keep(move || fleet.at_work(), background.clone()));
    }
    Ok(())
}

/// What operators and other servers see.
fn outlook(
    config: &Config,
    identity: &Arc<Identity>,
    fleet: &Arc<Fleet>,
    registry: &Registry,
    metrics: Option<Endpoint>,
) -> Result<Outlook, prometheus::Error> {
    let (names, instance) = (config.peers.clone(), fleet.instance().to_owned());
    let operators = Operators::beside(Arc::clone(identity), names.iter().map(|name| name.host.clone()).collect());
    let peers = if names.is_empty() {
        None
    } else {
        let over_grpc = OverGrpc { identity: Arc::clone(identity), keepalive: config.keepalive.clone() };
        Some(Arc::new(Peers::new(names, Arc::new(over_grpc), instance, PeerMetrics::new(registry)?)))
    };
    let collected = FleetMetrics::new(registry)?;
    let collector = Arc::new(Collector::new(Arc::clone(fleet), peers.clone(), registry.clone(), collected));
    Ok(Outlook { operators, metrics, peers, collector })
}

/// Who knows whom metrics are shown to.
fn scrapers(
    kubernetes: kube::Client,
    clock: &Clock,
    registry: &Registry,
) -> Result<Arc<dyn Access>, prometheus::Error> {
    let metrics = ReviewMetrics::new(registry, "kiam_scraper_reviews_total", "Reviews of scrapers' bearer tokens")?;
    Ok(Arc::new(Reviewed::by(KubernetesScrapers::new(kubernetes), clock.clone(), metrics)))
}

fn sts_settings(config: &Config, resolver: &Resolver) -> Result<Settings, StartError> {
    let assume_role = config.assume_role.as_deref().map(|role| resolver.arn(role)).transpose();
    Ok(Settings { region: config.region.clone(), assume_role: assume_role.map_err(StartError::AssumeRole)? })
}
