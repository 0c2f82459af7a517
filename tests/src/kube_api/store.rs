//! The objects, and the history that watches are fed from. Every change has a revision of its own; a watch may go on
//! from any revision whose successors are all still kept.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use serde_json::{Value, json};

use super::kind::Kind;

/// How many changes are kept.
const HISTORY: usize = 10_000;

/// Kind, namespace (empty for none) and name: the order of lists.
type Key = (&'static str, String, String);

/// A change, with what a watch needs to tell whether the object came into its selection or left it.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) revision: u64,
    pub(super) kind: &'static Kind,
    /// The object as it is now; for a deletion as it was last, under the deletion's revision.
    pub(super) object: Arc<Value>,
    /// The object as it was before.
    pub(super) before: Option<Arc<Value>>,
    pub(super) deleted: bool,
}

/// A revision whose successors are no longer all kept.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Forgotten {
    /// The least revision that can be gone on from.
    pub(super) oldest: u64,
}

#[derive(Debug)]
pub(super) struct Store {
    objects: BTreeMap<Key, Arc<Value>>,
    history: VecDeque<Change>,
    revision: u64,
    oldest: u64,
}

impl Store {
    pub(super) fn new() -> Self {
        Self { objects: BTreeMap::new(), history: VecDeque::new(), revision: 1, oldest: 1 }
    }

    /// The revision of the last change.
    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    pub(super) fn get(&self, kind: &Kind, namespace: &str, name: &str) -> Option<Arc<Value>> {
        self.objects.get(&(kind.plural, namespace.into(), name.into())).cloned()
    }

    /// The objects of a kind, of one namespace or of all.
    pub(super) fn list(&self, kind: &Kind, namespace: Option<&str>) -> Vec<Arc<Value>> {
        self.list_after(kind, namespace, (String::new(), String::new()))
    }

    /// The same, of those whose namespace and name come later than these.
    pub(super) fn list_after(
        &self,
        kind: &Kind,
        namespace: Option<&str>,
        (last_namespace, last_name): (String, String),
    ) -> Vec<Arc<Value>> {
        let last = Bound::Excluded((kind.plural, last_namespace, last_name));
        let later = self.objects.range((last, Bound::Unbounded));
        later
            .take_while(|((plural, ..), _)| *plural == kind.plural)
            .filter(|((_, of, _), _)| namespace.is_none_or(|namespace| of == namespace))
            .map(|(_, object)| Arc::clone(object))
            .collect()
    }

    /// Keeps `object` under the namespace and name in its metadata.
    pub(super) fn put(&mut self, kind: &'static Kind, mut object: Value) -> Arc<Value> {
        self.revision += 1;
        object["metadata"]["resourceVersion"] = json!(self.revision.to_string());
        let object = Arc::new(object);
        let before = self.objects.insert(key(kind, &object), Arc::clone(&object));
        self.remember(kind, Arc::clone(&object), before, false);
        object
    }

    /// Removes an object.
    pub(super) fn remove(&mut self, kind: &'static Kind, namespace: &str, name: &str) -> Option<Arc<Value>> {
        let before = self.objects.remove(&(kind.plural, namespace.into(), name.into()))?;
        self.revision += 1;
        let mut last = Value::clone(&before);
        last["metadata"]["resourceVersion"] = json!(self.revision.to_string());
        let last = Arc::new(last);
        self.remember(kind, Arc::clone(&last), Some(before), true);
        Some(last)
    }

    /// The changes of a kind after `revision`.
    pub(super) fn changes_since(&self, revision: u64, kind: &Kind) -> Result<Vec<Change>, Forgotten> {
        self.is_kept(revision)?;
        let newer = self.history.iter().skip_while(|change| change.revision <= revision);
        Ok(newer.filter(|change| change.kind == kind).cloned().collect())
    }

    /// Whether one can go on from `revision`.
    pub(super) fn is_kept(&self, revision: u64) -> Result<(), Forgotten> {
        if revision < self.oldest { Err(Forgotten { oldest: self.oldest }) } else { Ok(()) }
    }

    /// Forgets the history, as a compaction of etcd does: no revision before this one can be gone on from.
    pub(super) fn forget_history(&mut self) {
        self.revision += 1;
        self.oldest = self.revision;
        self.history.clear();
    }

    fn remember(&mut self, kind: &'static Kind, object: Arc<Value>, before: Option<Arc<Value>>, deleted: bool) {
        self.history.push_back(Change { revision: self.revision, kind, object, before, deleted });
        if self.history.len() > HISTORY {
            self.oldest = self.history.pop_front().map_or(self.oldest, |change| change.revision);
        }
    }
}

fn key(kind: &Kind, object: &Value) -> Key {
    (kind.plural, text(object, "namespace").into(), text(object, "name").into())
}

/// A text in the metadata; empty if it is not there.
pub(super) fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object["metadata"][field].as_str().unwrap_or_default()
}
