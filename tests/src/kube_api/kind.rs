//! The kinds of object that are kept.

/// A kind of object of the core group, version v1.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Kind {
    /// `Pod`.
    pub(super) name: &'static str,
    /// `pods`, as it stands in paths.
    pub(super) plural: &'static str,
    /// What kubectl may be given instead.
    pub(super) short: &'static str,
    /// Whether its objects live in namespaces.
    pub(super) namespaced: bool,
    /// Whether it has a status of its own, which only `…/status` changes.
    pub(super) has_status: bool,
}

pub(super) static POD: Kind = Kind { name: "Pod", plural: "pods", short: "po", namespaced: true, has_status: true };
pub(super) static NAMESPACE: Kind =
    Kind { name: "Namespace", plural: "namespaces", short: "ns", namespaced: false, has_status: true };
pub(super) static EVENT: Kind =
    Kind { name: "Event", plural: "events", short: "ev", namespaced: true, has_status: false };
pub(super) static NODE: Kind = Kind { name: "Node", plural: "nodes", short: "no", namespaced: false, has_status: true };

/// All of them, in the order that discovery shows.
pub(super) static ALL: [&Kind; 4] = [&EVENT, &NAMESPACE, &NODE, &POD];

impl Kind {
    /// The kind that a path calls `plural`.
    pub(super) fn of(plural: &str) -> Option<&'static Self> {
        ALL.into_iter().find(|kind| kind.plural == plural)
    }
}
