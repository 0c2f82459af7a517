//! Runs a history in a world of its own, and asks at every address after every step.

use std::sync::Arc;
use std::time::Duration;

use kiam_agent::testing::Answer;
use kiam_server::sts::Sts;
use tokio::task::yield_now;
use tokio::time::advance;

use crate::agent::{Agent, addresses};
use crate::cluster::Cluster;
use crate::history::{History, NAMESPACES, ROLES, Rule, SERVERS, Step, Watched};
use crate::oracle::Case;
use crate::rest;
use crate::server::Server;
use crate::sts::ScriptedSts;

/// More events or messages than there ever are.
const ALL: usize = usize::MAX;
/// How often tasks get their turn until there is nothing left for them to do.
const TURNS: usize = 16;

/// What is wrong, and after which step.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) after: usize,
    pub(crate) what: String,
}

/// Everything that there is.
pub(crate) struct World {
    pub(crate) cluster: Cluster,
    pub(crate) sts: Arc<ScriptedSts>,
    pub(crate) servers: Vec<Server>,
    pub(crate) agents: Vec<Agent>,
}

/// Runs a history, then lets everything come to rest.
pub(crate) fn run(history: &History) -> Result<(), Failure> {
    // What is left to chance, such as when credentials are renewed, is the history's too.
    fastrand::seed(history.seed);
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build().expect("a runtime");
    runtime.block_on(async {
        let mut world = World::new(history);
        for (number, step) in history.steps.iter().enumerate() {
            world.step(*step).await;
            world.check().map_err(|what| Failure { after: number + 1, what })?;
        }
        let after = history.steps.len() + 1;
        world.come_to_rest(history.seed).await;
        world.check().map_err(|what| Failure { after, what })?;
        rest::check(&world).await.map_err(|what| Failure { after, what: format!("at rest, {what}") })
    })
}

impl World {
    fn new(history: &History) -> Self {
        let mut cluster = Cluster::default();
        (0..NAMESPACES).for_each(|namespace| cluster.set_namespace(namespace, Some(Rule::Everything)));
        let sts = Arc::new(ScriptedSts::new());
        let servers = (0..SERVERS).map(|_| Server::start(Arc::clone(&sts) as Arc<dyn Sts>)).collect();
        let agents = history.wiring.into_iter().enumerate().map(|(node, wiring)| Agent::new(node, wiring)).collect();
        let mut world = Self { cluster, sts, servers, agents };
        world.tell_servers();
        world
    }

    async fn step(&mut self, step: Step) {
        let Self { cluster, sts, servers, agents } = self;
        match step {
            Step::Start { name, namespace, node, ip, annotation } => {
                cluster.start(name, namespace, node, ip, annotation);
            }
            Step::Report { name } => cluster.report(name),
            Step::Stop { name } => cluster.stop(name),
            Step::Finish { name } => cluster.finish(name),
            Step::Delete { name } => cluster.delete(name),
            Step::Annotate { name, annotation } => cluster.annotate(name, annotation),
            Step::Namespace { namespace, rule } => cluster.set_namespace(namespace, rule),
            Step::Sts { role, mood } => sts.set(role, mood),
            Step::Wait { seconds } => advance(Duration::from_secs(seconds)).await,
            Step::Watch { server, watched, events } => servers[server].watch(cluster, watched, events),
            Step::List { server, watched } => servers[server].list(cluster, watched),
            Step::Restart { server } => {
                for agent in agents {
                    agent.cut_from(server);
                }
                servers[server] = Server::start(Arc::clone(sts) as Arc<dyn Sts>);
            }
            Step::Connect { node, server } => agents[node].connect(server, &servers[server]),
            Step::Look { node } => agents[node].look(servers),
            Step::Arrive { node, messages } => agents[node].arrive(messages),
            Step::Cut { node } => agents[node].cut(),
            Step::Lose { node } => agents[node].lose_one(),
            Step::Settle => self.settle().await,
        }
        self.let_tasks_run().await;
    }

    /// What the kernels know, the agents know; and tasks get their turn.
    async fn let_tasks_run(&mut self) {
        self.agents.iter().for_each(|agent| agent.see(&self.cluster));
        for _ in 0..TURNS {
            yield_now().await;
        }
        self.agents.iter_mut().for_each(|agent| agent.meet(&self.cluster));
    }

    fn tell_servers(&mut self) {
        for server in &mut self.servers {
            server.watch(&self.cluster, Watched::Namespaces, ALL);
            server.watch(&self.cluster, Watched::Pods, ALL);
        }
    }

    /// Everything that has happened is told to everybody.
    async fn settle(&mut self) {
        self.tell_servers();
        self.let_tasks_run().await;
        for agent in &mut self.agents {
            agent.look(&self.servers);
            agent.arrive(ALL);
        }
    }

    /// Nothing happens any more, all is told, every agent has a stream, and STS is well.
    async fn come_to_rest(&mut self, seed: u64) {
        self.cluster.catch_up();
        self.sts.recover();
        // Meanwhile pauses after failures, slow answers, doubts, and credentials that STS gave a short life end; streams
        // that have lost a message are given up, and replaced.
        for round in 0..3 {
            advance(Duration::from_secs(70)).await;
            self.let_tasks_run().await;
            for (node, agent) in self.agents.iter_mut().enumerate() {
                agent.break_torn();
                let moves = round == 0 && seed.is_multiple_of(2);
                if agent.followed_server().is_none() || moves {
                    let server = usize::from(seed.is_multiple_of(3)) ^ node;
                    agent.connect(server, &self.servers[server]);
                }
            }
            self.settle().await;
            self.let_tasks_run().await;
        }
    }

    /// Asks for every role at every address of every node.
    fn check(&self) -> Result<(), String> {
        for (node, agent) in self.agents.iter().enumerate() {
            for ip in addresses() {
                let Some(pod) = self.cluster.at(node, ip) else { continue };
                for (role, name) in ROLES.iter().enumerate() {
                    let Answer::Held(document) = agent.credentials(ip, name) else { continue };
                    let given = self.sts.given_in(&document).ok_or("credentials that STS never gave")?;
                    let case = Case { ip, uid: &pod.uid, role, given, is_visible: agent.is_visible() };
                    let outcome = agent.knowledge.judge(case);
                    outcome.map_err(|why| format!("node-{node}: {} at {ip} got {name}: {why}", pod.uid))?;
                }
            }
        }
        Ok(())
    }
}
