//! Strategic merge patch: a merge patch that knows by which key the elements of a list are the same.
//! <https://github.com/kubernetes/community/blob/master/contributors/devel/sig-api-machinery/strategic-merge-patch.md>

use serde_json::{Map, Value};

/// Merges `patch` into `target`.
pub(super) fn merge(target: &mut Value, patch: &Value) {
    let Some(changes) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if changes.get("$patch").is_some_and(|directive| directive == "replace") || !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Some(fields) = target.as_object_mut() else { return };
    if let Some(kept) = changes.get("$retainKeys").and_then(Value::as_array) {
        fields.retain(|name, _| kept.iter().any(|one| one == name));
    }
    for (name, change) in changes {
        if let Some(list) = name.strip_prefix("$deleteFromPrimitiveList/") {
            remove_members(fields.get_mut(list), change);
        } else if name.starts_with('$') {
            // `$patch` and `$retainKeys` are done above; `$setElementOrder` only puts a list in order.
        } else if change.is_null() {
            fields.remove(name);
        } else {
            merge_field(fields.entry(name).or_insert(Value::Null), name, change);
        }
    }
}

fn merge_field(field: &mut Value, name: &str, change: &Value) {
    match (change.as_array(), merge_key(name)) {
        (Some(changes), Some(key)) => {
            if !field.is_array() {
                *field = Value::Array(Vec::new());
            }
            if let Some(elements) = field.as_array_mut() {
                for change in changes {
                    merge_element(elements, key, change);
                }
            }
        }
        _ => merge(field, change),
    }
}

fn merge_element(elements: &mut Vec<Value>, key: &str, change: &Value) {
    let position = elements.iter().position(|element| element.get(key) == change.get(key));
    let deleted = change.get("$patch").is_some_and(|directive| directive == "delete");
    match (position, deleted) {
        (Some(at), true) => {
            elements.remove(at);
        }
        (None, true) => {}
        (Some(at), false) => merge(&mut elements[at], change),
        (None, false) => {
            elements.push(Value::Null);
            if let Some(new) = elements.last_mut() {
                merge(new, change);
            }
        }
    }
}

fn remove_members(list: Option<&mut Value>, removed: &Value) {
    if let (Some(members), Some(removed)) = (list.and_then(Value::as_array_mut), removed.as_array()) {
        members.retain(|member| !removed.contains(member));
    }
}

/// The key of the elements of a pod's, namespace's or event's list; lists without one are replaced whole.
fn merge_key(list: &str) -> Option<&'static str> {
    match list {
        "containers" | "initContainers" | "ephemeralContainers" | "volumes" | "env" | "imagePullSecrets" => {
            Some("name")
        }
        "volumeMounts" => Some("mountPath"),
        "volumeDevices" => Some("devicePath"),
        "ports" => Some("containerPort"),
        "conditions" => Some("type"),
        "ownerReferences" => Some("uid"),
        "hostAliases" | "podIPs" | "hostIPs" => Some("ip"),
        "topologySpreadConstraints" => Some("topologyKey"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn merged(mut target: Value, patch: &Value) -> Value {
        merge(&mut target, patch);
        target
    }

    #[test]
    fn maps_are_merged_and_null_removes() {
        let pod = json!({"metadata": {"annotations": {"a": "1", "b": "2"}}});
        let patch = json!({"metadata": {"annotations": {"a": null, "c": "3"}}});
        assert_eq!(merged(pod, &patch), json!({"metadata": {"annotations": {"b": "2", "c": "3"}}}));
    }

    #[test]
    fn list_elements_with_the_same_key_are_merged() {
        let pod = json!({"containers": [{"name": "a", "image": "1"}, {"name": "b"}, {"name": "c"}]});
        let patch = json!({
            "$setElementOrder/containers": [{"name": "a"}, {"name": "d"}],
            "containers": [{"name": "a", "image": "2"}, {"name": "b", "$patch": "delete"}, {"name": "d"}],
        });
        let expected = json!({"containers": [{"name": "a", "image": "2"}, {"name": "c"}, {"name": "d"}]});
        assert_eq!(merged(pod, &patch), expected);
    }

    #[test]
    fn other_lists_are_replaced_and_primitive_members_removed() {
        let object = json!({"args": ["x", "y"], "finalizers": ["a", "b"]});
        let patch = json!({"args": ["z"], "$deleteFromPrimitiveList/finalizers": ["a"]});
        assert_eq!(merged(object, &patch), json!({"args": ["z"], "finalizers": ["b"]}));
    }

    #[test]
    fn a_map_can_be_replaced_or_cut_down_to_named_keys() {
        let object = json!({"x": {"a": 1, "b": 2}, "y": {"a": 1, "b": 2}});
        let patch = json!({"x": {"$patch": "replace", "c": 3}, "y": {"$retainKeys": ["b"]}});
        assert_eq!(merged(object, &patch), json!({"x": {"c": 3}, "y": {"b": 2}}));
    }
}
