//! A dashboard in Grafana's classic JSON model, which every Grafana since 10 takes: by import of the file or of its text
//! (`__inputs` asks for the data source), and from disk or a `ConfigMap` (where nobody reads `__inputs`, and the variable of
//! the same name is the data source).

use serde_json::{Value, json};

use super::panel::{self, Place};
use super::source::{Dashboard, Row, Variable};

/// The input, and the variable, that the data source is.
pub const DATASOURCE: &str = "DS_PROM";

/// Grafana's version of the model.
const SCHEMA: u32 = 42;
/// The grid's columns.
const COLUMNS: u64 = 24;
/// The height of a row's title.
const TITLE: u64 = 1;

/// The whole of it.
pub(super) fn dashboard(source: &Dashboard) -> Value {
    let variables = std::iter::once(datasource_variable()).chain(source.variables.iter().map(variable));
    json!({
        "__inputs": [{
            "name": DATASOURCE,
            "label": "Prometheus",
            "description": "The Prometheus that scrapes kiam-rs",
            "type": "datasource",
            "pluginId": "prometheus",
            "pluginName": "Prometheus",
        }],
        "__requires": [
            {"type": "grafana", "id": "grafana", "name": "Grafana", "version": "10.0.0"},
            {"type": "datasource", "id": "prometheus", "name": "Prometheus", "version": "1.0.0"},
        ],
        "id": null,
        "uid": source.uid,
        "title": source.title,
        "description": source.about,
        "tags": ["kiam"],
        "schemaVersion": SCHEMA,
        "editable": true,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "",
        "links": [{
            "title": "Kiam", "type": "dashboards", "tags": ["kiam"], "asDropdown": true, "includeVars": false,
            "keepTime": true, "targetBlank": false,
        }],
        "templating": {"list": variables.collect::<Vec<_>>()},
        "annotations": {"list": []},
        "panels": panels(&source.rows),
    })
}

/// What every panel and variable reads from.
pub(super) fn datasource() -> Value {
    json!({"type": "prometheus", "uid": format!("${{{DATASOURCE}}}")})
}

fn datasource_variable() -> Value {
    json!({
        "name": DATASOURCE, "label": "Prometheus", "type": "datasource", "query": "prometheus", "hide": 0,
        "includeAll": false, "multi": false, "options": [], "refresh": 1, "regex": "", "current": {},
    })
}

fn variable(variable: &Variable) -> Value {
    let query = format!("label_values({}, {})", variable.series, variable.source);
    let mut json = json!({
        "name": variable.name, "label": variable.label, "type": "query", "datasource": datasource(),
        "definition": query, "query": {"query": query, "refId": "variable"}, "refresh": 2, "sort": 1, "hide": 0,
        "regex": "", "options": [], "multi": !variable.single, "includeAll": !variable.single, "current": {},
    });
    if !variable.single {
        json["allValue"] = ".*".into();
        json["current"] = json!({"text": "All", "value": "$__all", "selected": true});
    }
    json
}

/// Every row's title and panels, from left to right and top to bottom.
fn panels(rows: &[Row]) -> Vec<Value> {
    let (mut panels, mut top) = (Vec::new(), 0);
    for row in rows {
        panels.push(json!({
            "id": panels.len() + 1, "type": "row", "title": row.title, "collapsed": false, "panels": [],
            "gridPos": {"x": 0, "y": top, "w": COLUMNS, "h": TITLE},
        }));
        top += TITLE;
        let (mut left, mut tallest) = (0, 0);
        for source in &row.panels {
            let (width, height) = panel::size(source);
            if left + width > COLUMNS {
                top += tallest;
                (left, tallest) = (0, 0);
            }
            let place = Place { left, top, width, height };
            panels.push(panel::panel(panels.len() + 1, source, place));
            left += width;
            tallest = tallest.max(height);
        }
        top += tallest;
    }
    panels
}
