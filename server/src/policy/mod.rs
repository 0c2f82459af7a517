//! Who may have which role: pure functions from what the directory knows to a decision that explains itself.
//! Called by [`crate::issue`] for each request and by prefetch before it asks STS for anything.

pub mod annotated;
pub mod namespace;
pub mod node;

use kiam_common::role::RoleArn;

use namespace::NamespaceRule;

/// The outcome of policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The pod may have the role.
    Allowed,
    /// The pod may not have the role.
    Denied(Denial),
}

/// Why a pod may not have a role. The words are for the pod's owner: an event on the pod and the answer to it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// The pod asks for a role other than its own.
    #[error("the pod asks for {requested} but is annotated with {annotated}")]
    OtherRole {
        /// What the request names.
        requested: RoleArn,
        /// What the pod is annotated with.
        annotated: RoleArn,
    },
    /// The namespace says nothing.
    #[error("the namespace has no {annotation} annotation, so it permits no role")]
    NothingPermitted {
        /// The annotation that is missing or empty.
        annotation: &'static str,
    },
    /// What the namespace says cannot be understood.
    #[error("the namespace's {annotation} annotation permits no role: {why}")]
    RuleUnusable {
        /// The annotation in question.
        annotation: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// The namespace permits other roles.
    #[error("{arn} does not match the namespace's {annotation} annotation {rule:?}")]
    NotPermitted {
        /// The resolved role.
        arn: RoleArn,
        /// The annotation that decides.
        annotation: &'static str,
        /// Its text, or the beginning of it.
        rule: String,
    },
}

/// Decides whether a pod annotated with `annotated` in a namespace with `rule` may have `requested`.
pub fn decide(requested: &RoleArn, annotated: &RoleArn, rule: &NamespaceRule) -> Decision {
    match annotated::decide(requested, annotated) {
        Decision::Allowed => rule.decide(annotated),
        denied @ Decision::Denied(_) => denied,
    }
}
