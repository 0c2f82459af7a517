//! A Kubernetes API on loopback, speaking the real protocol over plain HTTP: pods, namespaces, nodes and events with
//! get, list, watch, create, update, patch, status and delete; token and access reviews; and the discovery that
//! kubectl needs. No pod runs by itself: [`Pod`] says where it is, or [`KubeApi::run_pod`] does, or a client patches its
//! status.
//!
//! Tests hold a [`KubeApi`] and change things directly; what they change shows up in lists and watches exactly as what
//! a client changes.

mod cluster;
mod discovery;
mod failure;
mod kind;
mod list;
mod objects;
mod patch;
mod pod;
mod protobuf;
mod reviews;
mod route;
mod selector;
mod store;
mod strategic;
mod table;
mod watch;
mod wire;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use http::Method;
use kiam_common::clock::Clock;
use serde_json::{Value, json};
use tokio::sync::watch as channel;

pub use pod::Pod;
pub use reviews::{AccessRule, TokenUser};

use crate::loopback::Listening;
use kind::{EVENT, NAMESPACE, NODE, POD};
use reviews::Reviews;
use store::Store;

/// One request as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The method.
    pub method: Method,
    /// The path.
    pub path: String,
    /// What was after the `?`.
    pub query: String,
}

/// A running Kubernetes API.
#[derive(Debug)]
pub struct KubeApi {
    addr: SocketAddr,
    /// None while it is away.
    listening: Option<Listening>,
    service: Arc<Service>,
}

#[derive(Debug)]
struct Service {
    clock: Clock,
    store: Mutex<Store>,
    reviews: Mutex<Reviews>,
    seen: Mutex<Vec<Seen>>,
    /// The revision; wakes the watches.
    changed: channel::Sender<u64>,
    /// Counts the times that all watches were cut.
    cut: channel::Sender<u64>,
}

impl KubeApi {
    /// Starts, with the namespace `default`, on any free port of 127.0.0.1.
    pub async fn start() -> io::Result<Self> {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    /// Starts on an address.
    pub async fn start_at(addr: SocketAddr) -> io::Result<Self> {
        let service = Arc::new(Service {
            clock: Clock::system(),
            store: Mutex::new(Store::new()),
            reviews: Mutex::default(),
            seen: Mutex::default(),
            changed: channel::Sender::new(0),
            cut: channel::Sender::new(0),
        });
        let listening = Listening::start(addr, Arc::clone(&service)).await?;
        let api = Self { addr: listening.addr(), listening: Some(listening), service };
        api.put_namespace("default", &[]);
        Ok(api)
    }

    /// `http://host:port`.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Closes the port and every connection. What is there stays, and can be changed meanwhile: nobody hears of it.
    pub async fn go_away(&mut self) {
        if let Some(listening) = self.listening.take() {
            listening.close().await;
        }
    }

    /// Listens again where it did.
    pub async fn come_back(&mut self) -> io::Result<()> {
        self.listening = Some(Listening::start(self.addr, Arc::clone(&self.service)).await?);
        Ok(())
    }

    /// A kubeconfig file's text for this API.
    pub fn kubeconfig(&self) -> String {
        json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "sandbox", "cluster": {"server": self.url()}}],
            "users": [{"name": "sandbox", "user": {}}],
            "contexts": [{"name": "sandbox", "context": {"cluster": "sandbox", "user": "sandbox"}}],
            "current-context": "sandbox",
        })
        .to_string()
    }

    /// Adds a namespace, or replaces its annotations.
    pub fn put_namespace(&self, name: &str, annotations: &[(&str, &str)]) {
        let annotations: Value = annotations.iter().map(|(key, value)| (*key, *value)).collect();
        self.put(
            &NAMESPACE,
            json!({
                "metadata": {"name": name, "annotations": annotations, "labels": {"kubernetes.io/metadata.name": name}},
                "status": {"phase": "Active"},
            }),
        );
    }

    /// Adds a node.
    pub fn put_node(&self, name: &str, address: &str) {
        let addresses = json!([{"type": "InternalIP", "address": address}]);
        self.put(&NODE, json!({"metadata": {"name": name}, "status": {"addresses": addresses}}));
    }

    /// Adds a pod, or changes it: the same namespace and name keep the uid.
    pub fn put_pod(&self, pod: &Pod) {
        self.put(&POD, pod.to_object());
    }

    /// Keeps any JSON as a pod, as long as it has a name and a namespace: one that no client can decode, say.
    pub fn put_raw_pod(&self, object: Value) {
        self.put(&POD, object);
    }

    /// Sets or removes an annotation of a pod, which must be there.
    pub fn annotate_pod(&self, namespace: &str, name: &str, key: &str, value: Option<&str>) {
        let mut pod = Value::clone(&self.service.store().get(&POD, namespace, name).expect("the pod is there"));
        pod["metadata"]["annotations"][key] = json!(value);
        if let (None, Some(annotations)) = (value, pod["metadata"]["annotations"].as_object_mut()) {
            annotations.remove(key);
        }
        self.put(&POD, pod);
    }

    /// Removes a pod; whether it was there.
    pub fn remove_pod(&self, namespace: &str, name: &str) -> bool {
        self.service.change(|store| store.remove(&POD, namespace, name)).is_some()
    }

    /// Removes a namespace, but not what is in it; whether it was there.
    pub fn remove_namespace(&self, name: &str) -> bool {
        self.service.change(|store| store.remove(&NAMESPACE, "", name)).is_some()
    }

    /// Every pod as it is now.
    pub fn pods(&self) -> Vec<Arc<Value>> {
        self.service.store().list(&POD, None)
    }

    /// Every event that was written.
    pub fn events(&self) -> Vec<Arc<Value>> {
        self.service.store().list(&EVENT, None)
    }

    /// Hears of every change: the value is the revision.
    pub fn changes(&self) -> channel::Receiver<u64> {
        self.service.changed.subscribe()
    }

    /// Breaks every watch off in the middle.
    pub fn drop_watches(&self) {
        self.service.cut.send_modify(|times| *times += 1);
    }

    /// Forgets all history, so that every older resource version is 410 Gone, also in running watches that have not
    /// been told of the last change.
    pub fn forget_history(&self) {
        self.service.store().forget_history();
    }

    /// Lets a token stand for somebody, or for nobody again.
    pub fn set_token(&self, token: &str, user: Option<TokenUser>) {
        self.service.reviews().set_token(token, user);
    }

    /// Allows what one of the rules says and nothing else; without any call everything is allowed.
    pub fn set_access_rules(&self, rules: Vec<AccessRule>) {
        self.service.reviews().set_rules(rules);
    }

    /// Every request so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.service.seen.lock().expect("no holder panics").clone()
    }

    /// Keeps an object with the uid and creation time it has had so far.
    fn put(&self, kind: &'static kind::Kind, mut object: Value) {
        object["kind"] = json!(kind.name);
        object["apiVersion"] = json!("v1");
        self.service.change(|store| {
            let (namespace, name) = (store::text(&object, "namespace"), store::text(&object, "name"));
            let before = store.get(kind, namespace, name);
            let kept = |field: &str| before.as_ref().map(|before| before["metadata"][field].clone());
            let created = kiam_common::credentials::format_timestamp(self.service.clock.now());
            object["metadata"]["uid"] = kept("uid").unwrap_or_else(|| json!(objects::uid()));
            object["metadata"]["creationTimestamp"] = kept("creationTimestamp").unwrap_or_else(|| json!(created));
            store.put(kind, object);
        });
    }
}

impl Service {
    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().expect("no holder panics")
    }

    fn reviews(&self) -> MutexGuard<'_, Reviews> {
        self.reviews.lock().expect("no holder panics")
    }

    fn record(&self, seen: Seen) {
        self.seen.lock().expect("no holder panics").push(seen);
    }

    /// Changes the store and wakes the watches.
    fn change<T>(&self, change: impl FnOnce(&mut Store) -> T) -> T {
        let mut store = self.store();
        let outcome = change(&mut store);
        self.changed.send_replace(store.revision());
        outcome
    }
}
