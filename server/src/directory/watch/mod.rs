//! Feeds the directory from the Kubernetes API: one watch for pods, one for namespaces, all of the cluster. Started by
//! [`crate::app`]; nothing else in the directory knows of kube.
//!
//! A watch survives everything short of the shutdown: disconnects resume, 410 Gone lists anew, errors back off. Its
//! readiness blocker clears when the first list is complete. While a later list is read, the old index answers.

mod lenient;
pub mod list;
#[cfg(test)]
mod tests;
mod wire;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use kiam_common::ops::Blocker;
use kiam_common::shutdown::Shutdown;
use kube::api::Api;
use kube::core::Resource;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Client, ResourceExt as _};
use tokio::time::sleep;

use self::wire::{Kind, Namespaces, Pods, Watched};
use super::Directory;
use super::change::Change;
use super::namespaces::{NamespaceFields, NamespaceIndex};
use super::pods::{PodFields, PodIndex};
use crate::desk::Desk;
use crate::jitter;
use crate::metrics::WatchMetrics;
use crate::vault::Vault;

/// What is watched, by its name in URLs, readiness blockers and metrics.
pub const RESOURCES: [&str; 2] = [Pods::PLURAL, Namespaces::PLURAL];

/// Objects in each page of a list.
const PAGE_SIZE: u32 = 500;
/// The longest pause after the first failure, doubled with each more.
const PAUSE_MIN: Duration = Duration::from_millis(500);
/// The longest of all: what new pods wait for when the API is back. kube's own backs off to a minute.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Where the watches put what they learn.
#[derive(Clone)]
pub struct Feed {
    /// The index.
    pub directory: Arc<Directory>,
    /// Is offered what pods ask for.
    pub vault: Arc<Vault>,
    /// Is told where to look again.
    pub desk: Arc<Desk>,
    /// Counts what goes wrong.
    pub metrics: WatchMetrics,
}

/// Watches pods until the shutdown.
pub async fn pods(client: Client, feed: Feed, listed: Blocker, shutdown: Shutdown) {
    follow::<Pods>(client, feed, listed, shutdown).await;
}

/// Watches namespaces until the shutdown.
pub async fn namespaces(client: Client, feed: Feed, listed: Blocker, shutdown: Shutdown) {
    follow::<Namespaces>(client, feed, listed, shutdown).await;
}

/// A kind of object that the directory indexes.
trait Indexed: Kind {
    /// A list that is being read.
    type Draft: Default + Send;

    fn apply(directory: &Directory, fields: &Self::Fields) -> Change;
    fn delete(directory: &Directory, namespace: &str, name: &str, fields: Option<&Self::Fields>) -> Change;
    fn draft(directory: &Directory, draft: &mut Self::Draft, fields: &Self::Fields);
    fn reset(directory: &Directory, draft: Self::Draft) -> Change;
}

async fn follow<K: Indexed>(client: Client, feed: Feed, listed: Blocker, shutdown: Shutdown)
where
    Watched<K>: Resource<DynamicType = ()> + Clone + Debug,
{
    let config = watcher::Config::default().page_size(PAGE_SIZE);
    let mut events = std::pin::pin!(watcher(Api::<Watched<K>>::all(client), config));
    let mut draft = K::Draft::default();
    let mut failures = 0;
    loop {
        let event = tokio::select! {
            () = shutdown.begun() => return,
            event = events.next() => event,
        };
        match event {
            Some(Ok(event)) => {
                // That a list begins says nothing about the API.
                if !matches!(event, Event::Init) {
                    failures = 0;
                }
                feed.take::<K>(event, &mut draft, &listed);
            }
            Some(Err(error)) => {
                feed.metrics.failed(K::PLURAL);
                tracing::warn!(resource = K::PLURAL, "watch of the Kubernetes API: {error}");
                tokio::select! {
                    () = shutdown.begun() => return,
                    () = sleep(pause(failures, jitter::fraction())) => {}
                }
                failures += 1;
            }
            None => return,
        }
    }
}

/// How long to wait after a failure that others came before. `fraction`, from 0 to 1, sets servers apart.
fn pause(before: u32, fraction: f64) -> Duration {
    PAUSE_MAX.min(PAUSE_MIN.saturating_mul(2_u32.saturating_pow(before))).mul_f64(0.5 + fraction / 2.0)
}

impl Feed {
    fn take<K: Indexed>(&self, event: Event<Watched<K>>, draft: &mut K::Draft, listed: &Blocker) {
        let change = match event {
            Event::Init => {
                *draft = K::Draft::default();
                return;
            }
            Event::InitApply(object) => {
                if let Some(fields) = self.decoded(&object) {
                    K::draft(&self.directory, draft, fields);
                }
                return;
            }
            Event::InitDone => {
                let change = K::reset(&self.directory, std::mem::take(draft));
                listed.clear();
                tracing::info!(resource = K::PLURAL, "listed");
                change
            }
            Event::Apply(object) => match self.decoded(&object) {
                Some(fields) => K::apply(&self.directory, fields),
                // What it was before says nothing about what it is now.
                None => self.forget(&object),
            },
            Event::Delete(object) => self.forget(&object),
        };
        for demand in &change.demands {
            self.vault.offer(demand);
        }
        self.desk.look_again(&change.touched);
    }

    fn forget<K: Indexed>(&self, object: &Watched<K>) -> Change {
        let namespace = object.namespace().unwrap_or_default();
        K::delete(&self.directory, &namespace, &object.name_any(), object.fields.as_ref().ok())
    }

    fn decoded<'o, K: Indexed>(&self, object: &'o Watched<K>) -> Option<&'o K::Fields> {
        let report = |error: &String| {
            self.metrics.skipped(K::PLURAL);
            let namespace = object.namespace().unwrap_or_default();
            tracing::warn!(resource = K::PLURAL, namespace, name = object.name_any(), "skipped: {error}");
        };
        object.fields.as_ref().inspect_err(|error| report(error)).ok()
    }
}

impl Indexed for Pods {
    type Draft = PodIndex;

    fn apply(directory: &Directory, fields: &PodFields) -> Change {
        directory.apply_pod(fields)
    }

    fn delete(directory: &Directory, namespace: &str, name: &str, fields: Option<&PodFields>) -> Change {
        match fields {
            Some(fields) => directory.delete_pod(&fields.uid),
            None => directory.delete_pod_named(namespace, name),
        }
    }

    fn draft(directory: &Directory, draft: &mut PodIndex, fields: &PodFields) {
        directory.draft_pod(draft, fields);
    }

    fn reset(directory: &Directory, draft: PodIndex) -> Change {
        directory.reset_pods(draft)
    }
}

impl Indexed for Namespaces {
    type Draft = NamespaceIndex;

    fn apply(directory: &Directory, fields: &NamespaceFields) -> Change {
        directory.apply_namespace(fields)
    }

    fn delete(directory: &Directory, _: &str, name: &str, _: Option<&NamespaceFields>) -> Change {
        directory.delete_namespace(name)
    }

    fn draft(directory: &Directory, draft: &mut NamespaceIndex, fields: &NamespaceFields) {
        directory.draft_namespace(draft, fields);
    }

    fn reset(directory: &Directory, draft: NamespaceIndex) -> Change {
        directory.reset_namespaces(draft)
    }
}
