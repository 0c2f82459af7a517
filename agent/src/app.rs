//! Everything that an agent consists of, from its flags to its end.

use std::net::{SocketAddr, UdpSocket};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use kiam_common::VERSION;
use kiam_common::args::{self, Invocation, ServerAddressArgs};
use kiam_common::clock::Clock;
use kiam_common::grpc_metrics::GrpcMetrics;
use kiam_common::ops::{Endpoint, Readiness};
use kiam_common::rarely::Rarely;
use kiam_common::registry::Registry;
use kiam_common::shutdown::Shutdown;
use kiam_common::tls::{Identity, Side};
use kiam_common::{health, telemetry, tls};
use kiam_proto::METRICS_FEATURE;
use kiam_proto::node::{Hello, MetricsEndpoint};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::args::{AgentArgs, AgentCommand, InterceptCommand};
use crate::config::{self, Config, Limits};
use crate::descriptors;
use crate::doctor;
use crate::error::StartError;
use crate::http::Front;
use crate::http::imds::Imds;
use crate::http::listener;
use crate::http::peers::Peers;
use crate::http::proxy::Proxy;
use crate::http::token::Mint;
use crate::intercept::command::Action;
use crate::intercept::keeper::{KeeperThread, Reports};
use crate::intercept::metrics::RuleMetrics;
use crate::intercept::{self, Interception, privilege};
use crate::ledger::Ledger;
use crate::metadata::MetadataService;
use crate::metrics::Metrics;
use crate::network::{self, Watcher};
use crate::operators::Operators;
use crate::sync::endpoint::Connector;
use crate::sync::endpoints::Endpoints;
use crate::sync::metrics::StreamMetrics;
use crate::sync::stream::{Reporter, Supplier};
use crate::sync::token::TokenFile;
use crate::unary::Calls;
use crate::zone;

/// How often it is told that pods take more than they may.
const TELL_OF_LIMITS_EVERY: Duration = Duration::from_mins(1);

/// The whole program: reads the command line, runs until SIGTERM, and says how it went.
pub fn run() -> ExitCode {
    tls::install_crypto_provider();
    let invocation: Invocation<AgentArgs, AgentCommand> = args::parse_or_exit("agent");
    privilege::keep_to_start();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().on_thread_start(privilege::keep_nothing).build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("cannot start threads: {error}");
            return ExitCode::FAILURE;
        }
    };
    match invocation {
        Invocation::Run(args) => runtime.block_on(serve(args)),
        Invocation::Health(args) => runtime.block_on(health::run(*args)),
        Invocation::Command(AgentCommand::Intercept(command)) => runtime.block_on(intercept(&command)),
        Invocation::Command(AgentCommand::Doctor(args)) => runtime.block_on(doctor::run(*args)),
    }
}

async fn intercept(command: &InterceptCommand) -> ExitCode {
    let interception = command.interception().unwrap_or_else(|wrong| args::exit_with_usage(wrong));
    if command.action == Action::Add {
        check_hosts(&interception).unwrap_or_else(|wrong| args::exit_with_usage(wrong));
    }
    intercept::command::run(command.action, &interception).await
}

async fn serve(args: AgentArgs) -> ExitCode {
    let exporting = telemetry::start(&args.log, "kiam-agent").await;
    let exporting = exporting.unwrap_or_else(|wrong| args::exit_with_usage(wrong));
    let shutdown = Shutdown::new();
    let config = Config::try_from(args).unwrap_or_else(|wrong| args::exit_with_usage(wrong));
    let running = match start(config, shutdown.clone()).await {
        Ok(running) => running,
        Err(error @ (StartError::Metrics(_) | StartError::Interception(_))) => {
            tracing::error!("{error}");
            return ExitCode::FAILURE;
        }
        Err(error) => args::exit_with_usage(error),
    };
    privilege::keep_nothing();
    let told_to_end = async {
        if let Err(error) = shutdown.begin_on_signal().await {
            tracing::error!(%error, "cannot listen for signals");
            shutdown.begin();
        }
    };
    let (ended_well, ()) = tokio::join!(running.finished(), told_to_end);
    exporting.finish().await;
    if ended_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// An agent at work.
#[derive(Debug)]
pub struct Running {
    /// Where pods' requests are answered.
    pub metadata_addr: SocketAddr,
    /// Where `/metrics`, `/live` and `/ready` are, if anywhere.
    pub ops_addr: Option<SocketAddr>,
    parts: JoinSet<()>,
    /// Ends after everything else, so that the end can be watched.
    ops: JoinSet<()>,
    shutdown: Shutdown,
    ops_shutdown: Shutdown,
}

impl Running {
    /// Waits until the agent has stopped, which it does after its shutdown has begun, and when a part of it fails.
    /// Says whether every part ended as it should.
    pub async fn finished(mut self) -> bool {
        let ended_well = join(&mut self.parts, &self.shutdown).await;
        self.ops_shutdown.begin();
        join(&mut self.ops, &self.shutdown).await && ended_well
    }
}

async fn join(parts: &mut JoinSet<()>, shutdown: &Shutdown) -> bool {
    let mut ended_well = true;
    while let Some(ended) = parts.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "a part of the agent failed");
            shutdown.begin();
            ended_well = false;
        }
    }
    ended_well
}

/// Starts an agent. It answers as soon as this returns, whether or not a server is there.
pub async fn start(config: Config, shutdown: Shutdown) -> Result<Running, StartError> {
    warn_of(&config);
    let clock = Clock::system();
    let registry = Registry::new();
    let readiness = Readiness::default();
    let listening = readiness.blocker("metadata-listener");

    let operators = Operators::bind(&config.ops, &registry, &readiness).await?;
    let endpoint = operators.endpoint();
    let ops_addr = endpoint.as_ref().map(|endpoint| endpoint.address);
    let identity = Identity::load(&config.tls).await?;
    identity.register(&registry, Side::Client, &clock)?;
    let metrics = Arc::new(Metrics::new(&registry)?);
    let (ledger, watcher) = ledger(config.stream.as_ref(), &registry)?;
    let stream_metrics = StreamMetrics::new(&registry)?;
    let keeping = keeping(config.interception, &readiness, &metrics, &registry)?;

    let token = match config.server_token_file {
        Some(file) => Some(TokenFile::open(file).await?),
        None => None,
    };
    let endpoints = endpoints(config.server, &identity, token.as_ref(), &readiness, &registry)?;
    let operators = operators.guarded(&config.ops, &endpoints, &clock, &registry)?;
    let metadata = Arc::new(MetadataService::new(config.metadata_endpoint));
    let supplier = config.stream.map(|stream| Supplier {
        endpoints: endpoints.clone(),
        reporter: Arc::new(Reporter {
            hello: hello(stream, endpoint),
            ledger: ledger.clone(),
            metrics: metrics.clone(),
            identity: identity.clone(),
            rules: keeping.as_ref().map(|(_, reports)| reports.metrics.clone()),
            registry: registry.clone(),
            zone: zone::of(metadata.clone()),
        }),
        metrics: stream_metrics,
    });
    let limits = Limits { connections: descriptors::room_for(config.limits.connections), ..config.limits };
    let peers = Peers::new(limits);
    peers.register(&registry)?;
    let mint = Mint::new(identity.derive_key("session tokens"), clock);
    let front = Arc::new(Front {
        imds: Imds {
            ledger: ledger.clone(),
            server: Arc::new(Calls::new(endpoints.clone())),
            flights: Arc::default(),
            tokens: config.tokens,
            mint,
            metrics: metrics.clone(),
        },
        proxy: Proxy { allowed: config.allowed_routes, metadata, metrics: metrics.clone() },
        allow_ip_query: config.allow_ip_query,
        peers,
        limits_told: Rarely::every(TELL_OF_LIMITS_EVERY),
        watcher: watcher.clone(),
        metrics,
    });

    let ops_shutdown = Shutdown::new();
    let ops = operators.serve(&ops_shutdown);
    if let Some((interception, _)) = &keeping {
        check_hosts(interception)?;
    }
    let (listeners, metadata_addr) = listen(config.listen, config.also_listen)?;
    let parts = Parts { keeping, endpoints, token, identity, watcher, supplier, listeners, front };
    let parts = parts.start(&shutdown).await?;
    listening.clear();
    let announced = ops_addr.map(tracing::field::display);
    tracing::info!(%metadata_addr, ops_addr = announced, version = VERSION, "the agent answers");
    Ok(Running { metadata_addr, ops_addr, parts, ops, shutdown, ops_shutdown })
}

/// What goes on until the agent's end.
struct Parts {
    keeping: Option<(Interception, Reports)>,
    endpoints: Arc<Endpoints>,
    token: Option<Arc<TokenFile>>,
    identity: Arc<Identity>,
    watcher: Option<Arc<Watcher>>,
    supplier: Option<Supplier>,
    listeners: Vec<TcpListener>,
    front: Arc<Front>,
}

impl Parts {
    /// Starts them. The rules are in place before the first request is answered.
    async fn start(self, shutdown: &Shutdown) -> Result<JoinSet<()>, StartError> {
        let mut parts = JoinSet::new();
        if let Some((interception, reports)) = self.keeping {
            let mut keeper = KeeperThread::start(interception, reports, shutdown.clone())?;
            keeper.installed().await?;
            parts.spawn(keeper.ended());
        }
        parts.spawn(self.endpoints.keep_current(self.identity.generation(), shutdown.clone()));
        if let Some(token) = self.token {
            parts.spawn(token.keep_current(shutdown.clone()));
        }
        parts.spawn(self.identity.keep_current(shutdown.clone()));
        if let Some(watcher) = self.watcher {
            parts.spawn(watcher.watch(shutdown.clone()));
        }
        if let Some(supplier) = self.supplier {
            parts.spawn(supplier.keep_supplied(shutdown.clone()));
        }
        for listener in self.listeners {
            parts.spawn(listener::serve(listener, self.front.clone(), shutdown.clone()));
        }
        Ok(parts)
    }
}

/// The servers.
fn endpoints(
    server: ServerAddressArgs,
    identity: &Arc<Identity>,
    token: Option<&Arc<TokenFile>>,
    readiness: &Readiness,
    registry: &Registry,
) -> prometheus::Result<Arc<Endpoints>> {
    let resolver = Arc::new(server.server_address.clone());
    let metrics = GrpcMetrics::client(registry, &[kiam_proto::FILE_DESCRIPTOR_SET])?;
    let connector = Connector { identity: identity.clone(), token: token.cloned(), server, metrics };
    let endpoints = Arc::new(Endpoints::new(connector, resolver, readiness.blocker("server")));
    endpoints.register(registry)?;
    Ok(endpoints)
}

/// The ledger, and what tells it of changes in the node's network, where they can be seen.
fn ledger(
    stream: Option<&config::Stream>,
    registry: &Registry,
) -> prometheus::Result<(Arc<Ledger>, Option<Arc<Watcher>>)> {
    let max_stale = stream.map(|stream| stream.max_stale).unwrap_or_default();
    let (network, reports) = network::open();
    let ledger = Arc::new(Ledger::new(network, max_stale));
    ledger.register(registry)?;
    let watcher = reports.map(|reports| Arc::new(Watcher::new(reports, ledger.clone())));
    Ok((ledger, watcher))
}

/// The rules that the agent keeps, if it does, and who is told of them.
fn keeping(
    interception: Option<Interception>,
    readiness: &Readiness,
    metrics: &Metrics,
    registry: &Registry,
) -> prometheus::Result<Option<(Interception, Reports)>> {
    let Some(interception) = interception else { return Ok(None) };
    let (blocker, arrivals) = (readiness.blocker("interception"), metrics.arrivals.clone());
    Ok(Some((interception, Reports { blocker, metrics: Arc::new(RuleMetrics::new(registry)?), arrivals })))
}

/// What the agent says of itself.
fn hello(stream: config::Stream, metrics: Option<Endpoint>) -> Hello {
    let config::Stream { node, config_hash, .. } = stream;
    let metrics = metrics.map(|metrics| MetricsEndpoint {
        address: metrics.address.to_string(),
        path: metrics.path.to_string(),
        tls: metrics.tls,
    });
    let (agent_version, features) = (VERSION.into(), vec![METRICS_FEATURE.into()]);
    Hello { node, agent_version, config_hash, features, metrics, ..Hello::default() }
}

fn warn_of(config: &Config) {
    if config.allow_ip_query {
        tracing::warn!("--allow-ip-query: every pod can have the credentials of every other; for development only");
    }
    if !config.server.server_address_refresh.is_zero() {
        tracing::warn!("--server-address-refresh does nothing: the address is looked up again by itself");
    }
}

/// A host that is not this node would be sent the requests of all its pods.
fn check_hosts(interception: &Interception) -> Result<(), StartError> {
    for address in interception.hosts() {
        UdpSocket::bind((address, 0)).map_err(|source| StartError::Host { address, source })?;
    }
    Ok(())
}

/// Listens on `first`, and perhaps on another address too; says which port `first` got.
fn listen(first: SocketAddr, also: Option<SocketAddr>) -> Result<(Vec<TcpListener>, SocketAddr), StartError> {
    let bind = |address| listener::bind(address).map_err(|source| StartError::Listen { address, source });
    let listeners = [first].into_iter().chain(also).map(bind).collect::<Result<Vec<_>, _>>()?;
    let bound = listeners.first().map_or(Ok(first), TcpListener::local_addr);
    Ok((listeners, bound.map_err(|source| StartError::Listen { address: first, source })?))
}
