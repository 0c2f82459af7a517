//! The index of namespaces: what each permits, compiled when it changes.

use std::collections::HashMap;
use std::sync::Arc;

use kiam_common::role::RoleArn;

use crate::policy::Decision;
use crate::policy::namespace::{NamespaceAnnotations, NamespaceRule};

/// A namespace as the Kubernetes API shows it, reduced to what matters here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamespaceFields {
    /// `metadata.name`
    pub name: String,
    /// The annotations under `iam.amazonaws.com/`.
    pub annotations: NamespaceAnnotations,
}

/// Every namespace's rule.
#[derive(Debug, Default)]
pub struct NamespaceIndex {
    rules: HashMap<Box<str>, Arc<NamespaceRule>>,
}

impl NamespaceIndex {
    /// Takes in a namespace's rule. Returns whether it is another than before.
    pub fn apply(&mut self, name: &str, rule: NamespaceRule) -> bool {
        if self.rules.get(name).is_some_and(|known| known.is_same_as(&rule)) {
            return false;
        }
        self.rules.insert(name.into(), Arc::new(rule));
        true
    }

    /// Forgets a namespace.
    pub fn delete(&mut self, name: &str) {
        self.rules.remove(name);
    }

    /// The rule of a namespace, if the namespace is known.
    pub fn rule(&self, name: &str) -> Option<Arc<NamespaceRule>> {
        self.rules.get(name).map(Arc::clone)
    }

    /// Whether pods of a namespace may have a role.
    pub fn permits(&self, name: &str, arn: &RoleArn) -> bool {
        self.rules.get(name).is_some_and(|rule| rule.decide(arn) == Decision::Allowed)
    }

    /// How many namespaces there are.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }
}
