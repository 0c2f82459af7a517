//! The watch against an API server that follows a script.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use futures_util::{FutureExt as _, StreamExt as _};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::StreamBody;
use kiam_common::ops::Readiness;
use kiam_common::registry::Registry;
use kiam_common::shutdown::Shutdown;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_stream::wrappers::UnboundedReceiverStream;

use super::{Feed, namespaces, pods};
use crate::desk::Desk;
use crate::directory::Directory;
use crate::directory::pods::Owner;
use crate::fixtures;
use crate::metrics::WatchMetrics;

type Chunk = Result<Frame<Bytes>, Infallible>;
type Answer = Response<StreamBody<BoxStream<'static, Chunk>>>;

/// What the API server answers, request by request, and what it was asked. It never answers what is not in the script.
#[derive(Clone, Default)]
struct Script {
    answers: Arc<Mutex<VecDeque<Answer>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Script {
    fn then(self, status: u16, body: &Value) -> Self {
        let chunk = Ok(Frame::data(Bytes::from(body.to_string())));
        self.push(status, futures_util::stream::iter([chunk]).boxed())
    }

    fn then_list(self, resource_version: &str, next: &str, items: &[Value]) -> Self {
        let metadata = json!({ "resourceVersion": resource_version, "continue": next });
        self.then(200, &json!({ "kind": "List", "apiVersion": "v1", "metadata": metadata, "items": items }))
    }

    /// A watch, which lasts until what it returns is dropped.
    fn then_watch(self) -> (Self, Watch) {
        let (lines, sent) = mpsc::unbounded_channel::<Value>();
        let chunks = UnboundedReceiverStream::new(sent).map(|line| Ok(Frame::data(Bytes::from(format!("{line}\n")))));
        (self.push(200, chunks.boxed()), Watch(lines))
    }

    fn push(self, status: u16, chunks: BoxStream<'static, Chunk>) -> Self {
        let answer = Response::builder().status(status).body(StreamBody::new(chunks)).unwrap();
        self.answers.lock().unwrap().push_back(answer);
        self
    }

    fn client(&self) -> Client {
        let script = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| script.answer(&request));
        Client::new(service, "default")
    }

    fn answer(&self, request: &Request<Body>) -> BoxFuture<'static, Result<Answer, Infallible>> {
        self.asked.lock().unwrap().push(request.uri().to_string());
        match self.answers.lock().unwrap().pop_front() {
            Some(answer) => std::future::ready(Ok(answer)).boxed(),
            None => std::future::pending().boxed(),
        }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

struct Watch(mpsc::UnboundedSender<Value>);

impl Watch {
    async fn send(&self, kind: &str, object: Value) {
        self.0.send(json!({ "type": kind, "object": object })).unwrap();
        settle().await;
    }
}

struct Following {
    directory: Arc<Directory>,
    readiness: Readiness,
    registry: Registry,
    shutdown: Shutdown,
}

/// Starts to watch pods.
fn follow(script: &Script) -> Following {
    let following = Following {
        directory: fixtures::directory(),
        readiness: Readiness::default(),
        registry: Registry::new(),
        shutdown: Shutdown::new(),
    };
    let listed = following.readiness.blocker("pods");
    tokio::spawn(pods(script.client(), following.feed(), listed, following.shutdown.clone()));
    following
}

impl Following {
    fn feed(&self) -> Feed {
        let (vault, _sts) = fixtures::vault(&self.registry, &self.directory);
        Feed {
            directory: Arc::clone(&self.directory),
            vault: Arc::clone(&vault),
            desk: Arc::new(Desk::new(Arc::clone(&self.directory), vault)),
            metrics: WatchMetrics::new(&self.registry, &super::RESOURCES).unwrap(),
        }
    }

    async fn owner(&self, ip: &str) -> Option<String> {
        match self.directory.wait_for_pod(ip.parse().unwrap(), Duration::ZERO).await {
            Owner::Pod(pod) => Some(pod.name.to_string()),
            Owner::Unknown => None,
            Owner::Ambiguous(pods) => panic!("{pods:?}"),
        }
    }

    fn count(&self, series: &str) -> i64 {
        fixtures::count(&self.registry, series)
    }
}

/// A pod as the API writes it, with much that nobody here reads.
fn api_pod(name: &str, ip: &str, resource_version: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": name, "namespace": "team", "uid": format!("uid-of-{name}"), "resourceVersion": resource_version,
            "labels": { "app": name }, "managedFields": [{ "manager": "kubelet", "fieldsV1": { "f:status": {} } }],
            "annotations": { "iam.amazonaws.com/role": "reader", "other": "{\"a\": [1]}" },
        },
        "spec": { "nodeName": "node-1", "containers": [{ "name": "main", "image": "image" }] },
        "status": { "phase": "Running", "podIP": ip, "podIPs": [{ "ip": ip }], "conditions": [] },
    })
}

async fn settle() {
    sleep(Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn the_first_list_is_read_in_pages_and_counts_once_it_is_complete() {
    let script = Script::default().then_list("10", "next-page", &[api_pod("a", "10.0.0.1", "8")]);
    let following = follow(&script);
    settle().await;
    assert_eq!(following.readiness.waiting_for(), ["pods"]);
    assert_eq!(following.owner("10.0.0.1").await, None);

    let script = Script::default().then_list("10", "next-page", &[api_pod("a", "10.0.0.1", "8")]).then_list(
        "10",
        "",
        &[api_pod("b", "10.0.0.2", "9")],
    );
    let following = follow(&script);
    settle().await;
    assert!(following.readiness.is_ready());
    assert_eq!(following.owner("10.0.0.1").await.as_deref(), Some("a"));
    assert_eq!(following.owner("10.0.0.2").await.as_deref(), Some("b"));
    let asked = script.asked();
    assert!(asked[0].starts_with("/api/v1/pods?") && asked[0].contains("limit=500"), "{asked:?}");
    assert!(asked[1].contains("continue=next-page"), "{asked:?}");
    assert!(asked[2].contains("watch=true") && asked[2].contains("resourceVersion=10"), "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn changes_and_deletions_are_followed() {
    let (script, watch) = Script::default().then_list("10", "", &[api_pod("a", "10.0.0.1", "8")]).then_watch();
    let following = follow(&script);
    settle().await;
    watch.send("ADDED", api_pod("b", "10.0.0.2", "11")).await;
    watch.send("MODIFIED", api_pod("a", "10.0.0.3", "12")).await;
    assert_eq!(following.owner("10.0.0.1").await, None);
    assert_eq!(following.owner("10.0.0.2").await.as_deref(), Some("b"));
    assert_eq!(following.owner("10.0.0.3").await.as_deref(), Some("a"));
    watch.send("DELETED", api_pod("a", "10.0.0.3", "13")).await;
    let mut finished = api_pod("b", "10.0.0.2", "14");
    finished["status"]["phase"] = "Succeeded".into();
    watch.send("MODIFIED", finished).await;
    assert_eq!(following.directory.pod_count(), 0);
}

#[tokio::test(start_paused = true)]
async fn objects_that_cannot_be_decoded_are_skipped_and_the_rest_stands() {
    let mut odd = vec![json!("text"), json!({ "metadata": { "name": "bare" } })];
    for (pointer, value) in [
        ("/metadata/uid", json!(7)),
        ("/metadata/annotations", json!("text")),
        ("/metadata/annotations/iam.amazonaws.com~1role", json!({ "a": 1 })),
        ("/spec/hostNetwork", json!("yes")),
        ("/status/phase", json!(["Running"])),
        ("/status/podIPs", json!([{ "ip": "10.0.0.256" }])),
        ("/status", json!(7)),
    ] {
        let mut object = api_pod("odd", "10.0.0.9", "7");
        object["spec"]["hostNetwork"] = false.into();
        *object.pointer_mut(pointer).unwrap() = value;
        odd.push(object);
    }
    let count = odd.len();
    odd.insert(4, api_pod("a", "10.0.0.1", "8"));
    odd.push(api_pod("b", "10.0.0.2", "9"));
    let following = follow(&Script::default().then_list("10", "", &odd));
    settle().await;
    assert!(following.readiness.is_ready());
    assert_eq!(following.owner("10.0.0.1").await.as_deref(), Some("a"));
    assert_eq!(following.owner("10.0.0.2").await.as_deref(), Some("b"));
    assert_eq!(following.directory.pod_count(), 2);
    let skipped = following.count(r#"kiam_k8s_undecodable_objects_total{resource="pods"}"#);
    assert_eq!(usize::try_from(skipped).unwrap(), count);
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_can_no_longer_be_decoded_is_forgotten() {
    let (script, watch) = Script::default().then_list("10", "", &[api_pod("a", "10.0.0.1", "8")]).then_watch();
    let following = follow(&script);
    settle().await;
    let mut odd = api_pod("a", "10.0.0.1", "11");
    odd["status"]["podIP"] = json!([]);
    watch.send("MODIFIED", odd).await;
    assert_eq!(following.owner("10.0.0.1").await, None);
    watch.send("MODIFIED", api_pod("a", "10.0.0.1", "12")).await;
    assert_eq!(following.owner("10.0.0.1").await.as_deref(), Some("a"));
}

#[tokio::test(start_paused = true)]
async fn a_disconnect_resumes_where_it_was() {
    let (script, watch) = Script::default().then_list("10", "", &[api_pod("a", "10.0.0.1", "8")]).then_watch();
    let (script, resumed) = script.then_watch();
    let following = follow(&script);
    settle().await;
    watch.send("ADDED", api_pod("b", "10.0.0.2", "11")).await;
    drop(watch);
    settle().await;
    resumed.send("ADDED", api_pod("c", "10.0.0.3", "12")).await;
    assert!(script.asked()[2].contains("resourceVersion=11"), "{:?}", script.asked());
    assert_eq!(following.directory.pod_count(), 3);
}

#[tokio::test(start_paused = true)]
async fn after_410_gone_the_old_list_answers_until_the_new_one_is_complete() {
    let (script, watch) = Script::default().then_list("10", "", &[api_pod("a", "10.0.0.1", "8")]).then_watch();
    let script = script.then_list("900", "next-page", &[api_pod("b", "10.0.0.2", "800")]);
    let following = follow(&script);
    settle().await;
    let gone = json!({ "kind": "Status", "status": "Failure", "reason": "Expired", "code": 410, "message": "too old" });
    watch.send("ERROR", gone).await;
    sleep(Duration::from_secs(5)).await;
    assert_eq!(following.owner("10.0.0.1").await.as_deref(), Some("a"), "half of the new list has been read");
    assert_eq!(following.owner("10.0.0.2").await, None);
    assert_eq!(script.asked().len(), 4);
    assert!(following.count(r#"kiam_k8s_watch_errors_total{resource="pods"}"#) >= 1);
}

#[tokio::test(start_paused = true)]
async fn a_new_list_after_410_gone_drops_what_is_not_in_it() {
    let (script, watch) = Script::default().then_list("10", "", &[api_pod("a", "10.0.0.1", "8")]).then_watch();
    let following = follow(&script.clone().then_list("900", "", &[api_pod("b", "10.0.0.2", "800")]));
    settle().await;
    watch.send("ERROR", json!({ "kind": "Status", "code": 410, "reason": "Expired", "message": "too old" })).await;
    sleep(Duration::from_secs(5)).await;
    assert_eq!(following.owner("10.0.0.1").await, None);
    assert_eq!(following.owner("10.0.0.2").await.as_deref(), Some("b"));
    assert!(following.readiness.is_ready());
}

#[tokio::test(start_paused = true)]
async fn an_api_that_fails_at_first_is_asked_again() {
    let failure = json!({ "kind": "Status", "status": "Failure", "code": 503, "reason": "x", "message": "starting" });
    let script = Script::default().then(503, &failure).then(403, &failure).then(200, &json!("no list"));
    let following = follow(&script.then_list("10", "", &[api_pod("a", "10.0.0.1", "8")]));
    sleep(Duration::from_mins(1)).await;
    assert!(following.readiness.is_ready());
    assert_eq!(following.owner("10.0.0.1").await.as_deref(), Some("a"));
}

#[tokio::test(start_paused = true)]
async fn an_api_that_is_back_after_ten_minutes_is_followed_again_within_five_seconds() {
    let failure = json!({ "kind": "Status", "status": "Failure", "code": 503, "reason": "x", "message": "away" });
    let (script, watch) = Script::default().then_list("10", "", &[api_pod("a", "10.0.0.1", "8")]).then_watch();
    let script = (0..1000).fold(script, |script, _| script.then(503, &failure));
    let following = follow(&script);
    settle().await;
    watch.send("ERROR", json!({ "kind": "Status", "code": 410, "reason": "Expired", "message": "too old" })).await;
    sleep(Duration::from_mins(10)).await;
    assert!((120..300).contains(&script.asked().len()), "{}", script.asked().len());
    script.answers.lock().unwrap().clear();
    let _script = script.then_list("900", "", &[api_pod("b", "10.0.0.2", "800")]);
    sleep(Duration::from_secs(5)).await;
    assert_eq!(following.owner("10.0.0.2").await.as_deref(), Some("b"));
}

#[tokio::test(start_paused = true)]
async fn namespaces_are_followed_with_what_they_permit() {
    let namespace = |permitted: Value| {
        json!({ "metadata": { "name": "team", "resourceVersion": "8",
                              "annotations": { "iam.amazonaws.com/permitted": permitted } } })
    };
    let listed = [namespace(".*".into()), json!({ "metadata": { "resourceVersion": "9" } })];
    let (script, watch) = Script::default().then_list("10", "", &listed).then_watch();
    let following = Following {
        directory: fixtures::directory(),
        readiness: Readiness::default(),
        registry: Registry::new(),
        shutdown: Shutdown::new(),
    };
    let blocker = following.readiness.blocker("namespaces");
    tokio::spawn(namespaces(script.client(), following.feed(), blocker, following.shutdown.clone()));
    settle().await;
    assert!(script.asked()[0].starts_with("/api/v1/namespaces?"), "{:?}", script.asked());
    assert!(following.readiness.is_ready());
    assert_eq!(following.directory.namespace_count(), 1);
    following.directory.apply_pod(&fixtures::pod("a", "10.0.0.1", Some("reader")));
    assert!(following.directory.is_wanted(&fixtures::identity("reader")));
    watch.send("MODIFIED", namespace(json!(["not", "text"]))).await;
    assert!(!following.directory.is_wanted(&fixtures::identity("reader")), "what cannot be read permits nothing");
}
