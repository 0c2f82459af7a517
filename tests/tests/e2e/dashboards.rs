//! The dashboards are well formed, and of their sources. Whether their queries are answered is `observed`'s to show.

use std::collections::BTreeSet;
use std::fs;

use kiam_tests::dashboards::{DATASOURCE, Rendered, directory, render};
use serde_json::Value;

fn dashboards() -> Vec<Rendered> {
    render().unwrap_or_else(|why| panic!("{why}"))
}

fn panels(dashboard: &Rendered) -> impl Iterator<Item = &Value> {
    dashboard.json["panels"].as_array().expect("panels").iter()
}

/// Every data source that is named anywhere.
fn datasources<'v>(value: &'v Value, found: &mut Vec<&'v Value>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get("datasource"));
            fields.values().for_each(|field| datasources(field, found));
        }
        Value::Array(items) => items.iter().for_each(|item| datasources(item, found)),
        _ => {}
    }
}

#[test]
fn the_files_are_what_their_sources_say() {
    let mut files: BTreeSet<_> = fs::read_dir(directory())
        .expect("a directory")
        .filter_map(Result::ok)
        .collect::<Vec<_>>()
        .iter()
        .map(std::fs::DirEntry::path)
        .filter(|path| path.extension().is_some_and(|kind| kind == "json"))
        .collect();
    for dashboard in dashboards() {
        let written = fs::read_to_string(&dashboard.file).unwrap_or_default();
        assert!(
            written == dashboard.text(),
            "{}: run cargo run --package kiam-tests --bin kiam-dashboards",
            dashboard.file.display()
        );
        files.remove(&dashboard.file);
    }
    assert_eq!(files, BTreeSet::new(), "dashboards without a source");
}

#[test]
fn no_two_dashboards_or_panels_of_one_have_the_same_identity() {
    let dashboards = dashboards();
    let uids: BTreeSet<&str> = dashboards.iter().map(|dashboard| dashboard.source.uid.as_str()).collect();
    let titles: BTreeSet<&str> = dashboards.iter().map(|dashboard| dashboard.source.title.as_str()).collect();
    assert_eq!((uids.len(), titles.len()), (dashboards.len(), dashboards.len()));
    for dashboard in &dashboards {
        let ids: BTreeSet<u64> = panels(dashboard).filter_map(|panel| panel["id"].as_u64()).collect();
        assert_eq!(ids.len(), panels(dashboard).count(), "{}", dashboard.source.uid);
    }
}

#[test]
fn every_panel_says_what_it_shows() {
    for dashboard in &dashboards() {
        for panel in dashboard.source.rows.iter().flat_map(|row| &row.panels) {
            let (uid, title) = (&dashboard.source.uid, &panel.title);
            assert!(panel.about.len() > 10 && panel.about.ends_with('.'), "{uid}: {title}: {:?}", panel.about);
            assert!(!panel.queries.is_empty(), "{uid}: {title}");
        }
    }
}

#[test]
fn panels_lie_on_the_grid_beside_each_other() {
    for dashboard in &dashboards() {
        let mut cells = BTreeSet::new();
        for panel in panels(dashboard) {
            let place = |side: &str| panel["gridPos"][side].as_u64().expect("a number");
            for x in place("x")..place("x") + place("w") {
                for y in place("y")..place("y") + place("h") {
                    assert!(x < 24 && cells.insert((x, y)), "{}: {}", dashboard.source.uid, panel["title"]);
                }
            }
        }
    }
}

#[test]
fn the_data_source_is_the_input_that_import_asks_for_and_the_variable_that_a_mounted_file_needs() {
    for dashboard in &dashboards() {
        let json = &dashboard.json;
        assert_eq!((&json["id"], &json["__inputs"][0]["name"]), (&Value::Null, &Value::from(DATASOURCE)));
        let variable = &json["templating"]["list"][0];
        assert_eq!((&variable["name"], &variable["type"]), (&Value::from(DATASOURCE), &Value::from("datasource")));
        let mut found = Vec::new();
        datasources(json, &mut found);
        let wanted = serde_json::json!({"type": "prometheus", "uid": "${DS_PROM}"});
        assert!(found.len() > 10 && found.iter().all(|datasource| **datasource == wanted), "{}", dashboard.source.uid);
    }
}

#[test]
fn every_dashboard_is_in_the_notes_with_a_sketch() {
    let notes = fs::read_to_string(directory().join("README.md")).expect("the notes");
    for dashboard in &dashboards() {
        let uid = &dashboard.source.uid;
        let (_, section) = notes.split_once(&format!("`{uid}.json`")).unwrap_or_else(|| panic!("{uid}"));
        let section = section.split("\n## ").next().unwrap_or_default();
        for row in &dashboard.source.rows {
            let title = row.title.split(" (").next().unwrap_or_default();
            assert!(section.contains(title), "{uid}: {title}");
        }
    }
}
