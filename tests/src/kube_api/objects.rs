//! What the API does to single objects: create, update, patch, delete, each by the rules that its clients rely on.

use std::sync::Arc;

use jiff::Timestamp;
use kiam_common::credentials::format_timestamp;
use serde_json::{Value, json};

use super::failure::Failure;
use super::kind::{EVENT, Kind, NAMESPACE, POD};
use super::patch::Patch;
use super::store::{Store, text};
use crate::loopback::random_text;

/// Where one object is.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) kind: &'static Kind,
    /// Empty for a kind that lives in none.
    pub(super) namespace: String,
    pub(super) name: String,
    /// Whether the request is for `…/status`.
    pub(super) status: bool,
}

impl Place {
    fn missing(&self) -> Failure {
        Failure::NotFound(self.kind, self.name.clone())
    }

    fn conflict(&self, why: &str) -> Failure {
        Failure::Conflict(self.kind, self.name.clone(), why.into())
    }
}

pub(super) fn get(store: &Store, place: &Place) -> Result<Arc<Value>, Failure> {
    store.get(place.kind, &place.namespace, &place.name).ok_or_else(|| place.missing())
}

pub(super) fn create(
    store: &mut Store,
    kind: &'static Kind,
    namespace: &str,
    mut object: Value,
    now: Timestamp,
) -> Result<Arc<Value>, Failure> {
    let Some(metadata) = object["metadata"].as_object_mut() else {
        return Err(Failure::BadRequest(format!("a {} without metadata", kind.name)));
    };
    if let (None, Some(prefix)) = (metadata.get("name"), metadata.get("generateName").and_then(Value::as_str)) {
        let name = format!("{prefix}{}", random_text(b"bcdfghjklmnpqrst", 5));
        metadata.insert("name".into(), json!(name));
    }
    if kind.namespaced {
        let given = metadata.entry("namespace").or_insert_with(|| json!(namespace));
        if given != namespace {
            let message = "the namespace of the provided object does not match the namespace sent on the request";
            return Err(Failure::BadRequest(message.into()));
        }
        if *kind != EVENT && store.get(&NAMESPACE, "", namespace).is_none() {
            return Err(Failure::NotFound(&NAMESPACE, namespace.into()));
        }
    }
    metadata.insert("uid".into(), json!(uid()));
    metadata.insert("creationTimestamp".into(), json!(format_timestamp(now)));
    let name = text(&object, "name").to_owned();
    check_name(kind, &name)?;
    if store.get(kind, namespace, &name).is_some() {
        return Err(Failure::AlreadyExists(kind, name));
    }
    typed(kind, &mut object);
    if *kind == POD {
        object["status"] = json!({"phase": "Pending"});
    } else if *kind == NAMESPACE {
        object["metadata"]["labels"]["kubernetes.io/metadata.name"] = json!(name);
        object["status"] = json!({"phase": "Active"});
    }
    Ok(store.put(kind, object))
}

/// Replaces an object, or only its status.
pub(super) fn update(store: &mut Store, place: &Place, object: Value) -> Result<Arc<Value>, Failure> {
    let current = get(store, place)?;
    replace(store, place, &current, object)
}

/// Patches an object, or only its status. An apply of an object that is not there creates it.
pub(super) fn patch(store: &mut Store, place: &Place, patch: &Patch, now: Timestamp) -> Result<Arc<Value>, Failure> {
    let current = match get(store, place) {
        Ok(current) => current,
        Err(missing) => {
            let Patch::Apply(object) = patch else { return Err(missing) };
            return create(store, place.kind, &place.namespace, object.clone(), now);
        }
    };
    let patched = patch.applied_to(&current)?;
    replace(store, place, &current, patched)
}

/// Deletes an object; a namespace takes all that is in it along. There is no grace period.
pub(super) fn delete(store: &mut Store, place: &Place, options: &Value) -> Result<Arc<Value>, Failure> {
    let current = get(store, place)?;
    for field in ["uid", "resourceVersion"] {
        if options["preconditions"][field].as_str().is_some_and(|wanted| wanted != text(&current, field)) {
            return Err(place.conflict(&format!("the {field} in the precondition is not the object's")));
        }
    }
    if *place.kind == NAMESPACE {
        for kind in [&POD, &EVENT] {
            for object in store.list(kind, Some(&place.name)) {
                store.remove(kind, &place.name, text(&object, "name"));
            }
        }
    }
    store.remove(place.kind, &place.namespace, &place.name).ok_or_else(|| place.missing())
}

fn replace(store: &mut Store, place: &Place, current: &Value, mut object: Value) -> Result<Arc<Value>, Failure> {
    let Some(metadata) = object["metadata"].as_object_mut() else {
        return Err(Failure::BadRequest(format!("a {} without metadata", place.kind.name)));
    };
    for field in ["resourceVersion", "uid"] {
        let given = metadata.get(field).and_then(Value::as_str).unwrap_or_default();
        if !given.is_empty() && given != text(current, field) {
            return Err(place.conflict("the object has been modified; please apply your changes to the latest version"));
        }
    }
    for field in ["resourceVersion", "uid", "creationTimestamp", "name", "namespace"] {
        match current["metadata"].get(field) {
            Some(value) => metadata.insert(field.into(), value.clone()),
            None => metadata.remove(field),
        };
    }
    let mut next = if place.status {
        let mut next = current.clone();
        next["status"] = object["status"].take();
        next
    } else {
        if place.kind.has_status {
            object["status"] = current["status"].clone();
        }
        object
    };
    typed(place.kind, &mut next);
    if next == *current {
        return get(store, place);
    }
    Ok(store.put(place.kind, next))
}

fn check_name(kind: &'static Kind, name: &str) -> Result<(), Failure> {
    let sound = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    if !name.is_empty() && name.len() <= 253 && name.chars().all(sound) {
        return Ok(());
    }
    let why = "metadata.name: a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters";
    Err(Failure::Invalid(kind, name.into(), why.into()))
}

fn typed(kind: &Kind, object: &mut Value) {
    object["kind"] = json!(kind.name);
    object["apiVersion"] = json!("v1");
}

pub(super) fn uid() -> String {
    let hex = |length| random_text(b"0123456789abcdef", length);
    format!("{}-{}-4{}-a{}-{}", hex(8), hex(4), hex(3), hex(3), hex(12))
}
