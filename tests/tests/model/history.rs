//! Histories: what happens, step by step. A step that cannot happen when its turn comes is passed over, so that a part
//! of a history is a history, too.

use std::fmt;

use fastrand::Rng;

/// How many nodes, servers, pod names, namespaces, addresses and roles there are. Few, so that they meet.
pub(crate) const NODES: usize = 2;
pub(crate) const SERVERS: usize = 2;
pub(crate) const NAMES: usize = 4;
pub(crate) const NAMESPACES: usize = 2;
pub(crate) const ADDRESSES: [&str; 3] = ["10.0.0.1", "10.0.0.2", "fd00::1"];
pub(crate) const ROLES: [&str; 3] = ["reader", "writer", "admin"];

/// The steps of a history.
const STEPS: usize = 80;

/// What a pod is annotated with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Annotation {
    Absent,
    Invalid,
    Role(usize),
}

/// What a namespace permits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    Nothing,
    Everything,
    Only(usize),
}

/// How STS answers for a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// With sessions of so many seconds.
    Grants(u64),
    Slow,
    Fails,
    Refuses,
}

/// How pods are connected on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wiring {
    /// Each pod has an interface of its own.
    Routed,
    /// All pods are behind one interface, told apart by their hardware addresses.
    Bridged,
    /// In a way that the agent cannot see.
    Opaque,
}

/// What a server watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Watched {
    Pods,
    Namespaces,
}

/// One thing that happens. Numbers index the constants above.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    /// A pod is created, and its network on its node. The API does not know the address yet.
    Start {
        name: usize,
        namespace: usize,
        node: usize,
        ip: usize,
        annotation: Annotation,
    },
    /// The kubelet tells the API the pod's address.
    Report {
        name: usize,
    },
    /// The pod's network ends. The API does not know yet.
    Stop {
        name: usize,
    },
    /// The pod's network ends as its work is done, and the API is told. It keeps its address there.
    Finish {
        name: usize,
    },
    /// The pod vanishes from the API. If it was forced, its network is still there.
    Delete {
        name: usize,
    },
    Annotate {
        name: usize,
        annotation: Annotation,
    },
    /// A namespace appears or changes; with none it vanishes.
    Namespace {
        namespace: usize,
        rule: Option<Rule>,
    },
    Sts {
        role: usize,
        mood: Mood,
    },
    Wait {
        seconds: u64,
    },
    /// A server hears of the next events.
    Watch {
        server: usize,
        watched: Watched,
        events: usize,
    },
    /// A server's watch has broken off: it lists anew.
    List {
        server: usize,
        watched: Watched,
    },
    /// A server dies, and comes back knowing nothing.
    Restart {
        server: usize,
    },
    /// A node's agent opens a stream, and follows the one that it may have until the new one's snapshot is whole.
    Connect {
        node: usize,
        server: usize,
    },
    /// The servers of a node's streams look at what there is to tell.
    Look {
        node: usize,
    },
    /// The next messages of a node's streams arrive.
    Arrive {
        node: usize,
        messages: usize,
    },
    /// The stream that a node's agent follows ends. What is under way is lost.
    Cut {
        node: usize,
    },
    /// A message to a node is lost, and the stream goes on.
    Lose {
        node: usize,
    },
    /// Everything that has happened is told to everybody at once.
    Settle,
}

/// A history.
#[derive(Clone, Debug)]
pub(crate) struct History {
    pub(crate) seed: u64,
    pub(crate) wiring: [Wiring; NODES],
    pub(crate) steps: Vec<Step>,
}

/// How many of each a history has to do with: the fewer, the more happens between them.
#[derive(Clone, Copy, Debug)]
struct Range {
    names: usize,
    namespaces: usize,
    nodes: usize,
    servers: usize,
    addresses: usize,
}

impl History {
    /// The history of a seed: always the same.
    pub(crate) fn random(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let ways = [Wiring::Routed, Wiring::Routed, Wiring::Bridged, Wiring::Opaque];
        let wiring = [(); NODES].map(|()| *pick(&mut rng, &ways));
        let range = Range {
            names: rng.usize(1..=NAMES),
            namespaces: rng.usize(1..=NAMESPACES),
            nodes: rng.usize(1..=NODES),
            servers: rng.usize(1..=SERVERS),
            addresses: rng.usize(1..=ADDRESSES.len()),
        };
        let steps = (0..STEPS).map(|_| range.step(&mut rng)).collect();
        Self { seed, wiring, steps }
    }
}

impl Range {
    fn step(self, rng: &mut Rng) -> Step {
        match rng.u8(..100) {
            0..38 => self.of_cluster(rng),
            38..41 => Step::Sts { role: rng.usize(..ROLES.len()), mood: mood(rng) },
            41..45 => Step::Wait { seconds: *pick(rng, &[1, 5, 11, 40, 700, 4000]) },
            45..63 => self.of_server(rng),
            63..70 => Step::Settle,
            _ => self.of_stream(rng),
        }
    }

    fn of_cluster(self, rng: &mut Rng) -> Step {
        let name = rng.usize(..self.names);
        match rng.u8(..20) {
            0..6 => Step::Start {
                name,
                namespace: rng.usize(..self.namespaces),
                node: rng.usize(..self.nodes),
                ip: rng.usize(..self.addresses),
                annotation: annotation(rng),
            },
            6..11 => Step::Report { name },
            11..13 => Step::Stop { name },
            13 => Step::Finish { name },
            14..17 => Step::Delete { name },
            17 => Step::Annotate { name, annotation: annotation(rng) },
            _ => Step::Namespace { namespace: rng.usize(..self.namespaces), rule: rule(rng) },
        }
    }

    fn of_server(self, rng: &mut Rng) -> Step {
        let server = rng.usize(..self.servers);
        let watched = *pick(rng, &[Watched::Pods, Watched::Pods, Watched::Namespaces]);
        match rng.u8(..20) {
            0..17 => Step::Watch { server, watched, events: rng.usize(1..6) },
            17 | 18 => Step::List { server, watched },
            _ => Step::Restart { server },
        }
    }

    fn of_stream(self, rng: &mut Rng) -> Step {
        let node = rng.usize(..self.nodes);
        match rng.u8(..18) {
            0..3 => Step::Connect { node, server: rng.usize(..self.servers) },
            3..8 => Step::Look { node },
            8..14 => Step::Arrive { node, messages: rng.usize(1..8) },
            14 | 15 => Step::Cut { node },
            _ => Step::Lose { node },
        }
    }
}

fn annotation(rng: &mut Rng) -> Annotation {
    match rng.u8(..8) {
        0 => Annotation::Absent,
        1 => Annotation::Invalid,
        _ => Annotation::Role(rng.usize(..ROLES.len())),
    }
}

fn rule(rng: &mut Rng) -> Option<Rule> {
    match rng.u8(..6) {
        0 => None,
        1 => Some(Rule::Nothing),
        2 | 3 => Some(Rule::Only(rng.usize(..ROLES.len()))),
        _ => Some(Rule::Everything),
    }
}

fn mood(rng: &mut Rng) -> Mood {
    *pick(rng, &[Mood::Grants(3600), Mood::Grants(900), Mood::Grants(30), Mood::Slow, Mood::Fails, Mood::Refuses])
}

fn pick<'c, T>(rng: &mut Rng, choices: &'c [T]) -> &'c T {
    &choices[rng.usize(..choices.len())]
}

impl fmt::Display for Annotation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("nobody"),
            Self::Invalid => f.write_str("something senseless"),
            Self::Role(role) => f.write_str(ROLES[*role]),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start { name, namespace, node, ip, annotation } => write!(
                f,
                "pod-{name} of namespace-{namespace} starts on node-{node} with {} as {annotation}",
                ADDRESSES[*ip]
            ),
            Self::Report { name } => write!(f, "the API hears the address of pod-{name}"),
            Self::Stop { name } => write!(f, "the network of pod-{name} ends"),
            Self::Finish { name } => write!(f, "pod-{name} finishes"),
            Self::Delete { name } => write!(f, "pod-{name} is deleted"),
            Self::Annotate { name, annotation } => write!(f, "pod-{name} is annotated as {annotation}"),
            Self::Namespace { namespace, rule: None } => write!(f, "namespace-{namespace} vanishes"),
            Self::Namespace { namespace, rule: Some(rule) } => write!(f, "namespace-{namespace} permits {rule:?}"),
            Self::Sts { role, mood } => write!(f, "STS: {mood:?} for {}", ROLES[*role]),
            Self::Wait { seconds } => write!(f, "{seconds} s pass"),
            Self::Watch { server, watched, events } => {
                write!(f, "server-{server} hears {events} events of {watched:?}")
            }
            Self::List { server, watched } => write!(f, "server-{server} lists {watched:?}"),
            Self::Restart { server } => write!(f, "server-{server} restarts"),
            Self::Connect { node, server } => write!(f, "node-{node} opens a stream to server-{server}"),
            Self::Look { node } => write!(f, "the servers of node-{node} look"),
            Self::Arrive { node, messages } => write!(f, "{messages} messages arrive at node-{node}"),
            Self::Cut { node } => write!(f, "the stream of node-{node} is cut"),
            Self::Lose { node } => write!(f, "a message to node-{node} is lost"),
            Self::Settle => f.write_str("everybody is told everything"),
        }
    }
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}, nodes {:?}", self.seed, self.wiring)?;
        self.steps.iter().enumerate().try_for_each(|(number, step)| writeln!(f, "{:4}  {step}", number + 1))
    }
}
