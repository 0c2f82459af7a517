//! Tables: what `kubectl get` shows.

use std::sync::Arc;

use jiff::{SpanRound, Timestamp, Unit};
use serde_json::{Value, json};

use super::kind::{EVENT, Kind, NAMESPACE, POD};
use super::store::text;

/// One column: its title, and a cell of it.
type Column = (&'static str, fn(&Value) -> Value);

/// The objects as a table.
pub(super) fn of(kind: &Kind, objects: &[Arc<Value>], metadata: &Value, now: Timestamp) -> Value {
    let columns = columns(kind);
    let titles: Vec<Value> = columns.iter().map(|(title, _)| title_of(title)).chain([title_of("Age")]).collect();
    let rows: Vec<Value> = objects
        .iter()
        .map(|object| {
            let cells: Vec<Value> = columns.iter().map(|(_, cell)| cell(object)).chain([age(object, now)]).collect();
            json!({"cells": cells, "object": Value::clone(object)})
        })
        .collect();
    json!({
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": titles,
        "rows": rows,
    })
}

fn columns(kind: &Kind) -> Vec<Column> {
    let name: Column = ("Name", |object| json!(text(object, "name")));
    let status: Column = ("Status", |object| object["status"]["phase"].clone());
    if *kind == POD {
        vec![
            name,
            status,
            ("IP", |pod| pod["status"]["podIP"].clone()),
            ("Node", |pod| pod["spec"]["nodeName"].clone()),
            ("Role", |pod| pod["metadata"]["annotations"]["iam.amazonaws.com/role"].clone()),
        ]
    } else if *kind == NAMESPACE {
        let permitted: Column =
            ("Permitted roles", |object| object["metadata"]["annotations"]["iam.amazonaws.com/permitted"].clone());
        vec![name, status, permitted]
    } else if *kind == EVENT {
        vec![
            ("Type", |event| event["type"].clone()),
            ("Reason", |event| event["reason"].clone()),
            ("Object", |event| event["involvedObject"]["name"].clone()),
            ("Message", |event| event["message"].clone()),
        ]
    } else {
        vec![name]
    }
}

fn title_of(title: &str) -> Value {
    let format = if title == "Name" { "name" } else { "" };
    json!({"name": title, "type": "string", "format": format, "description": "", "priority": 0})
}

fn age(object: &Value, now: Timestamp) -> Value {
    let Ok(created) = text(object, "creationTimestamp").parse::<Timestamp>() else { return json!("<unknown>") };
    let largest_hours = SpanRound::new().smallest(Unit::Second).largest(Unit::Hour);
    let shown = now.since(created).and_then(|age| age.round(largest_hours)).map(|age| format!("{age:#}"));
    json!(shown.unwrap_or_default().replace(' ', ""))
}
