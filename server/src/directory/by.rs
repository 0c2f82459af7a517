//! Sets of pods that are found by something of their own, which a map would keep once more.

use std::borrow::Borrow;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::sync::Arc;

use super::pods::Pod;
use super::uid::PodUid;

/// What a pod is found by.
pub(super) trait Key {
    type Of: Hash + Eq + ?Sized;

    fn of(pod: &Pod) -> &Self::Of;
}

/// The pod's uid.
#[derive(Debug)]
pub(super) struct Uid;

impl Key for Uid {
    type Of = PodUid;

    fn of(pod: &Pod) -> &PodUid {
        &pod.uid
    }
}

/// The pod's name, in its namespace.
#[derive(Debug)]
pub(super) struct Name;

impl Key for Name {
    type Of = str;

    fn of(pod: &Pod) -> &str {
        &pod.name
    }
}

/// A pod in a set, equal to another if what it is found by is.
#[derive(Debug)]
pub(super) struct By<K> {
    pub(super) pod: Arc<Pod>,
    key: PhantomData<K>,
}

impl<K> From<&Arc<Pod>> for By<K> {
    fn from(pod: &Arc<Pod>) -> Self {
        Self { pod: Arc::clone(pod), key: PhantomData }
    }
}

impl Borrow<PodUid> for By<Uid> {
    fn borrow(&self) -> &PodUid {
        Uid::of(&self.pod)
    }
}

impl Borrow<str> for By<Name> {
    fn borrow(&self) -> &str {
        Name::of(&self.pod)
    }
}

impl<K: Key> Hash for By<K> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        K::of(&self.pod).hash(state);
    }
}

impl<K: Key> PartialEq for By<K> {
    fn eq(&self, other: &Self) -> bool {
        K::of(&self.pod) == K::of(&other.pod)
    }
}

impl<K: Key> Eq for By<K> {}
