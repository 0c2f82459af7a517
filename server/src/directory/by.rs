//! Sets of pods that are found by one of their own texts, which a map would keep once more.

use std::borrow::Borrow;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::sync::Arc;

use super::pods::Pod;

/// The text that a pod is found by.
pub(super) trait Text {
    fn of(pod: &Pod) -> &str;
}

/// The pod's uid.
#[derive(Debug)]
pub(super) struct Uid;

impl Text for Uid {
    fn of(pod: &Pod) -> &str {
        &pod.uid
    }
}

/// The pod's name, in its namespace.
#[derive(Debug)]
pub(super) struct Name;

impl Text for Name {
    fn of(pod: &Pod) -> &str {
        &pod.name
    }
}

/// A pod in a set, equal to another if the text is.
#[derive(Debug)]
pub(super) struct By<T> {
    pub(super) pod: Arc<Pod>,
    text: PhantomData<T>,
}

impl<T> From<&Arc<Pod>> for By<T> {
    fn from(pod: &Arc<Pod>) -> Self {
        Self { pod: Arc::clone(pod), text: PhantomData }
    }
}

impl<T: Text> Borrow<str> for By<T> {
    fn borrow(&self) -> &str {
        T::of(&self.pod)
    }
}

impl<T: Text> Hash for By<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        T::of(&self.pod).hash(state);
    }
}

impl<T: Text> PartialEq for By<T> {
    fn eq(&self, other: &Self) -> bool {
        T::of(&self.pod) == T::of(&other.pod)
    }
}

impl<T: Text> Eq for By<T> {}
