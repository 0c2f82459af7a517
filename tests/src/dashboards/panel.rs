//! One panel of a dashboard.

use serde_json::{Value, json};

use super::grafana::datasource;
use super::source::{Kind, Panel, Query};

/// Where a panel is on the grid.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) left: u64,
    pub(super) top: u64,
    pub(super) width: u64,
    pub(super) height: u64,
}

/// Columns and rows of the grid that a panel takes.
pub(super) fn size(panel: &Panel) -> (u64, u64) {
    let (width, height) = match panel.kind {
        Kind::Stat => (4, 4),
        Kind::Graph => (12, 8),
        Kind::Table => (24, 8),
    };
    (panel.width.unwrap_or(width), panel.height.unwrap_or(height))
}

/// The panel.
pub(super) fn panel(id: usize, panel: &Panel, place: Place) -> Value {
    let Place { left, top, width, height } = place;
    let targets = panel.queries.iter().zip('A'..).map(|(query, name)| target(panel.kind, query, name));
    let mut json = json!({
        "id": id,
        "type": plugin(panel.kind),
        "title": panel.title,
        "description": panel.about,
        "datasource": datasource(),
        "gridPos": {"x": left, "y": top, "w": width, "h": height},
        "fieldConfig": {"defaults": defaults(panel), "overrides": []},
        "options": options(panel.kind),
        "targets": targets.collect::<Vec<_>>(),
    });
    if panel.kind == Kind::Table {
        json["transformations"] = tidied(panel);
    }
    json
}

fn plugin(kind: Kind) -> &'static str {
    match kind {
        Kind::Stat => "stat",
        Kind::Graph => "timeseries",
        Kind::Table => "table",
    }
}

fn target(kind: Kind, query: &Query, name: char) -> Value {
    json!({
        "refId": name.to_string(),
        "datasource": datasource(),
        "editorMode": "code",
        "expr": query.expr.trim(),
        "legendFormat": query.legend,
        "instant": kind == Kind::Table,
        "range": kind != Kind::Table,
        "format": if kind == Kind::Table { "table" } else { "time_series" },
    })
}

fn defaults(panel: &Panel) -> Value {
    let mut defaults = json!({
        "unit": panel.unit,
        "color": {"mode": if panel.kind == Kind::Graph { "palette-classic" } else { "thresholds" }},
        "thresholds": {"mode": "absolute", "steps": steps(panel)},
    });
    if panel.kind == Kind::Graph {
        defaults["min"] = 0.into();
        defaults["custom"] = json!({
            "drawStyle": "line",
            "lineWidth": 1,
            "fillOpacity": if panel.stacked { 30 } else { 5 },
            "showPoints": "auto",
            "stacking": {"mode": if panel.stacked { "normal" } else { "none" }, "group": "A"},
        });
    }
    defaults
}

/// Colours by value, the least first.
fn steps(panel: &Panel) -> Value {
    match (panel.red_from, panel.red_below) {
        (Some(bad), _) => json!([{"color": "green", "value": null}, {"color": "red", "value": bad}]),
        (None, Some(good)) => json!([{"color": "red", "value": null}, {"color": "green", "value": good}]),
        (None, None) => json!([{"color": "text", "value": null}]),
    }
}

fn options(kind: Kind) -> Value {
    match kind {
        Kind::Stat => json!({
            "colorMode": "value",
            "graphMode": "area",
            "textMode": "auto",
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": false},
        }),
        Kind::Graph => json!({
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": true, "calcs": []},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }),
        Kind::Table => json!({"showHeader": true}),
    }
}

/// Without the time, and with its column of values called by its name.
fn tidied(panel: &Panel) -> Value {
    let legend = panel.queries.first().map_or("", |query| &query.legend);
    json!([{
        "id": "organize",
        "options": {"excludeByName": {"Time": true}, "renameByName": {"Value": legend, "Value #A": legend}},
    }])
}
