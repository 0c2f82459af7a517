//! Watches: one line of JSON for each change, from any revision that is still kept, until the client goes, its time
//! is over, or a test cuts the connections.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, Stream};
use hyper::body::Frame;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;

use super::Service;
use super::failure::Failure;
use super::kind::Kind;
use super::selector::Selector;
use super::store::{Change, Forgotten, Store};
use crate::loopback::Broken;

/// How often a quiet watch says where it is.
const BOOKMARK_EVERY: Duration = Duration::from_secs(10);

/// What a client asked to be told.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) kind: &'static Kind,
    pub(super) namespace: Option<String>,
    pub(super) selector: Selector,
    /// Go on after this revision; none: begin with the objects that are there.
    pub(super) from: Option<u64>,
    pub(super) bookmarks: bool,
    /// Begin with the objects that are there and mark the end of them: a streamed list.
    pub(super) initial_events: bool,
    pub(super) ends: Option<Instant>,
}

/// A running watch.
struct Watch {
    service: Arc<Service>,
    wanted: Wanted,
    /// All changes up to this revision have been told.
    told: u64,
    lines: VecDeque<Bytes>,
    changed: watch::Receiver<u64>,
    cut: watch::Receiver<u64>,
    over: bool,
}

/// The body of a watch's answer.
pub(super) fn start(service: Arc<Service>, wanted: Wanted) -> impl Stream<Item = Result<Frame<Bytes>, Broken>> {
    let (changed, cut) = (service.changed.subscribe(), service.cut.subscribe());
    let mut watch =
        Watch { told: wanted.from.unwrap_or(0), service, wanted, lines: VecDeque::new(), changed, cut, over: false };
    if watch.wanted.from.is_none() || watch.wanted.initial_events {
        watch.tell_what_is_there();
    }
    stream::unfold(watch, |mut watch| async move { watch.next().await.map(|line| (line.map(Frame::data), watch)) })
}

impl Watch {
    async fn next(&mut self) -> Option<Result<Bytes, Broken>> {
        loop {
            if let Some(line) = self.lines.pop_front() {
                return Some(Ok(line));
            }
            if self.over {
                return None;
            }
            self.changed.mark_unchanged();
            self.tell_changes();
            if !self.lines.is_empty() {
                continue;
            }
            let ends = self.wanted.ends;
            tokio::select! {
                _ = self.changed.changed() => {}
                _ = self.cut.changed() => return Some(Err("the watch is cut".into())),
                () = sleep_until(ends) => self.over = true,
                () = tokio::time::sleep(BOOKMARK_EVERY), if self.wanted.bookmarks => self.tell_bookmark(&json!({})),
            }
        }
    }

    fn tell_what_is_there(&mut self) {
        let service = Arc::clone(&self.service);
        let store = service.store();
        self.told = store.revision();
        for object in store.list(self.wanted.kind, self.wanted.namespace.as_deref()) {
            if self.wanted.selector.matches(&object) {
                self.tell("ADDED", &object);
            }
        }
        if self.wanted.initial_events {
            self.tell_bookmark(&json!({"k8s.io/initial-events-end": "true"}));
        }
    }

    fn tell_changes(&mut self) {
        let service = Arc::clone(&self.service);
        let store = service.store();
        match store.changes_since(self.told, self.wanted.kind) {
            Ok(changes) => {
                self.told = store.revision();
                for change in &changes {
                    self.tell_change(change);
                }
            }
            Err(forgotten) => {
                self.tell("ERROR", &too_old(&store, self.told, &forgotten).to_object());
                self.over = true;
            }
        }
    }

    fn tell_change(&mut self, change: &Change) {
        if self.wanted.namespace.as_deref().is_some_and(|wanted| change.object["metadata"]["namespace"] != wanted) {
            return;
        }
        let selector = &self.wanted.selector;
        let before = change.before.as_ref().is_some_and(|before| selector.matches(before));
        let now = !change.deleted && selector.matches(&change.object);
        match (before, now) {
            (false, true) => self.tell("ADDED", &change.object),
            (true, true) => self.tell("MODIFIED", &change.object),
            (true, false) => self.tell("DELETED", &change.object),
            (false, false) => {}
        }
    }

    fn tell_bookmark(&mut self, annotations: &Value) {
        let bookmark = json!({
            "kind": self.wanted.kind.name,
            "apiVersion": "v1",
            "metadata": {"resourceVersion": self.told.to_string(), "annotations": annotations},
        });
        self.tell("BOOKMARK", &bookmark);
    }

    fn tell(&mut self, what: &str, object: &Value) {
        // In the API server's own order: clients decode the object as it comes once they know its type.
        let line = format!("{{\"type\":\"{what}\",\"object\":{object}}}\n");
        self.lines.push_back(line.into());
    }
}

/// The refusal to go on from a revision that is no longer kept.
pub(super) fn too_old(store: &Store, revision: u64, forgotten: &Forgotten) -> Failure {
    let oldest = forgotten.oldest;
    Failure::Expired(format!("too old resource version: {revision} ({oldest}, now {})", store.revision()))
}

async fn sleep_until(end: Option<Instant>) {
    match end {
        Some(end) => tokio::time::sleep_until(end).await,
        None => std::future::pending().await,
    }
}
