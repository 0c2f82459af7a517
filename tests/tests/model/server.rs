//! A server without its connections: the real directory, vault and desk, fed by watches that hear of the cluster as
//! late as the history says; and beside them, in plain objects, what it has heard.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kiam_common::clock::Clock;
use kiam_common::registry::Registry;
use kiam_common::role::SessionName;
use kiam_common::shutdown::Shutdown;
use kiam_proto::encoding::node::server_message::Message;
use kiam_server::desk::{self, Clerk, Desk};
use kiam_server::directory::Directory;
use kiam_server::directory::change::Change;
use kiam_server::directory::namespaces::NamespaceIndex;
use kiam_server::directory::pods::PodIndex;
use kiam_server::grpc::node::wire;
use kiam_server::metrics::VaultMetrics;
use kiam_server::policy::namespace::NamespacePolicy;
use kiam_server::role::resolver::Resolver;
use kiam_server::sts::Sts;
use kiam_server::vault::{Limits, Settings, Vault, upkeep};

use crate::cluster::{ARN, Cluster, Objects, PodEvent, namespace_fields, node_name};
use crate::history::{ADDRESSES, Watched};
use crate::oracle::Words;

const SETTINGS: Settings = Settings {
    session_duration: Duration::from_hours(1),
    session_refresh: Duration::from_mins(30),
    capacity: 100,
    prefetch_buffer: 100,
    limits: Limits { at_once: 64, per_second: 1000 },
    attempt_timeout: Duration::from_secs(4),
};

pub(crate) struct Server {
    pub(crate) resolver: Resolver,
    pub(crate) directory: Arc<Directory>,
    pub(crate) vault: Arc<Vault>,
    desk: Arc<Desk>,
    pub(crate) clock: Clock,
    shutdown: Shutdown,
    /// How many events it has heard; none before the first list.
    pods_heard: Option<usize>,
    namespaces_heard: Option<usize>,
    heard: Objects,
}

impl Server {
    /// One that knows nothing. Must be called in a tokio runtime.
    pub(crate) fn start(sts: Arc<dyn Sts>) -> Self {
        let resolver = Resolver::new(ARN.parse().expect("a base"), SessionName::from_text("model"));
        let directory = Arc::new(Directory::new(resolver.clone(), NamespacePolicy::Permitted { anchored: true }));
        let metrics = VaultMetrics::new(&Registry::new()).expect("metrics");
        let clock = Clock::starting_at(Timestamp::UNIX_EPOCH);
        let vault = Arc::new(Vault::new(sts, clock.clone(), Arc::clone(&directory), &SETTINGS, metrics));
        let desk = Arc::new(Desk::new(Arc::clone(&directory), Arc::clone(&vault)));
        let shutdown = Shutdown::new();
        tokio::spawn(upkeep::keep(Arc::clone(&vault), shutdown.clone()));
        tokio::spawn(desk::keep(Arc::clone(&desk), shutdown.clone()));
        let heard = Objects::default();
        Self { resolver, directory, vault, desk, clock, shutdown, pods_heard: None, namespaces_heard: None, heard }
    }

    /// Whether it knows enough to supply anybody.
    pub(crate) fn is_ready(&self) -> bool {
        self.pods_heard.is_some() && self.namespaces_heard.is_some()
    }

    /// Hears of so many events, as far as there are that many. A server that has not listed yet lists.
    pub(crate) fn watch(&mut self, cluster: &Cluster, watched: Watched, events: usize) {
        match watched {
            Watched::Pods => {
                let Some(from) = self.pods_heard else { return self.list(cluster, watched) };
                for event in cluster.pod_events.iter().skip(from).take(events) {
                    self.pods_heard = self.pods_heard.map(|heard| heard + 1);
                    self.hear_of_pod(event);
                }
            }
            Watched::Namespaces => {
                let Some(from) = self.namespaces_heard else { return self.list(cluster, watched) };
                for (namespace, rule) in cluster.namespace_events.iter().skip(from).take(events) {
                    self.namespaces_heard = self.namespaces_heard.map(|heard| heard + 1);
                    self.heard.take_namespace((*namespace, *rule));
                    let fields = namespace_fields(*namespace, *rule);
                    self.pass_on(&match rule {
                        Some(_) => self.directory.apply_namespace(&fields),
                        None => self.directory.delete_namespace(&fields.name),
                    });
                }
            }
        }
    }

    fn hear_of_pod(&mut self, event: &PodEvent) {
        self.heard.take_pod(event);
        self.pass_on(&match event {
            PodEvent::Applied(pod) => self.directory.apply_pod(&pod.fields()),
            PodEvent::Deleted(pod) => self.directory.delete_pod(&pod.uid),
        });
    }

    /// Reads all that there is now, in the place of what it has heard.
    pub(crate) fn list(&mut self, cluster: &Cluster, watched: Watched) {
        match watched {
            Watched::Pods => {
                self.pods_heard = Some(cluster.pod_events.len());
                self.heard.pods = cluster.objects.pods.clone();
                let mut draft = PodIndex::default();
                cluster.objects.pods.values().for_each(|pod| self.directory.draft_pod(&mut draft, &pod.fields()));
                self.pass_on(&self.directory.reset_pods(draft));
            }
            Watched::Namespaces => {
                self.namespaces_heard = Some(cluster.namespace_events.len());
                self.heard.namespaces = cluster.objects.namespaces.clone();
                let mut draft = NamespaceIndex::default();
                for (namespace, rule) in &cluster.objects.namespaces {
                    self.directory.draft_namespace(&mut draft, &namespace_fields(*namespace, Some(*rule)));
                }
                self.pass_on(&self.directory.reset_namespaces(draft));
            }
        }
    }

    /// As the watch's feed does.
    fn pass_on(&self, change: &Change) {
        change.demands.iter().for_each(|demand| self.vault.offer(demand));
        self.desk.look_again(&change.touched);
    }

    /// Someone to supply a node.
    pub(crate) fn clerk(&self, node: usize) -> Clerk {
        self.desk.clerk(&node_name(node))
    }

    /// What a clerk says, as it is sent now.
    pub(crate) fn send(&self, message: desk::told::Message) -> Message {
        wire::news(message, &self.clock)
    }

    /// What follows for a node from what it has heard.
    pub(crate) fn words(&self, node: usize) -> Words {
        let addresses = ADDRESSES.map(|ip| ip.parse::<IpAddr>().expect("an address"));
        addresses.into_iter().filter_map(|ip| Some((ip, self.heard.word(node, ip)?))).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shutdown.begin();
    }
}
