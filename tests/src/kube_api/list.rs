//! Lists, whole or page by page.

use std::sync::Arc;

use serde_json::{Value, json};

use super::failure::Failure;
use super::kind::Kind;
use super::selector::Selector;
use super::store::{Store, text};
use super::watch::too_old;

/// Which part of a list is asked for.
#[derive(Clone, Debug)]
pub(super) struct Page<'a> {
    pub(super) kind: &'static Kind,
    pub(super) namespace: Option<&'a str>,
    pub(super) selector: &'a Selector,
    /// At most this many; 0 for all.
    pub(super) limit: usize,
    /// What the page before said; empty for the first.
    pub(super) after: &'a str,
}

/// The objects of one page and what the list says of itself.
///
/// All pages of a list name the revision of its first page, so that a watch from there tells what has changed between
/// the pages; they show the objects as they are now, where etcd would show them as they were then.
pub(super) fn page(store: &Store, page: &Page) -> Result<(Vec<Arc<Value>>, Value), Failure> {
    let (revision, last_shown) = read_token(store, page.after)?;
    let mut objects = store.list_after(page.kind, page.namespace, last_shown);
    objects.retain(|object| page.selector.matches(object));
    let mut metadata = json!({"resourceVersion": revision.to_string()});
    if page.limit > 0 && objects.len() > page.limit {
        let left = objects.len() - page.limit;
        objects.truncate(page.limit);
        if let Some(last) = objects.last() {
            let (namespace, name) = position(last);
            metadata["continue"] = json!(format!("{revision}.{namespace}/{name}"));
        }
        if page.selector.is_everything() {
            metadata["remainingItemCount"] = json!(left);
        }
    }
    Ok((objects, metadata))
}

/// The list object; its items carry no kind of their own.
pub(super) fn to_object(kind: &Kind, objects: &[Arc<Value>], metadata: &Value) -> Value {
    let items: Vec<Value> = objects
        .iter()
        .map(|object| {
            let mut item = Value::clone(object);
            if let Some(fields) = item.as_object_mut() {
                fields.remove("kind");
                fields.remove("apiVersion");
            }
            item
        })
        .collect();
    json!({"kind": format!("{}List", kind.name), "apiVersion": "v1", "metadata": metadata, "items": items})
}

/// The list's revision and the last object of the page before.
fn read_token(store: &Store, token: &str) -> Result<(u64, (String, String)), Failure> {
    if token.is_empty() {
        return Ok((store.revision(), Default::default()));
    }
    let parsed = token.split_once('.').and_then(|(revision, place)| {
        let (namespace, name) = place.split_once('/')?;
        Some((revision.parse::<u64>().ok()?, (namespace.to_owned(), name.to_owned())))
    });
    let (revision, place) = parsed.ok_or_else(|| Failure::BadRequest("continue key is not valid".into()))?;
    store.is_kept(revision).map_err(|forgotten| too_old(store, revision, &forgotten))?;
    Ok((revision, place))
}

fn position(object: &Value) -> (String, String) {
    (text(object, "namespace").into(), text(object, "name").into())
}
