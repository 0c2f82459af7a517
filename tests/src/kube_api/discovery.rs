//! What the API says about itself: groups, resources, version, and as much of a schema as `kubectl apply` asks for.

use serde_json::{Value, json};

use super::kind::{self, Kind};

/// The document at a path that is about the API itself.
pub(super) fn find(segments: &[&str]) -> Option<Value> {
    match segments {
        ["version"] => Some(version()),
        ["api"] => Some(json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []})),
        ["api", "v1"] => Some(resources("v1", &kind::ALL.into_iter().flat_map(served).collect::<Vec<_>>())),
        ["apis"] => Some(json!({
            "kind": "APIGroupList",
            "apiVersion": "v1",
            "groups": [group("authentication.k8s.io"), group("authorization.k8s.io")],
        })),
        ["apis", "authentication.k8s.io"] => Some(group("authentication.k8s.io")),
        ["apis", "authorization.k8s.io"] => Some(group("authorization.k8s.io")),
        ["apis", "authentication.k8s.io", "v1"] => {
            Some(resources("authentication.k8s.io/v1", &[review("tokenreviews", "TokenReview")]))
        }
        ["apis", "authorization.k8s.io", "v1"] => Some(resources(
            "authorization.k8s.io/v1",
            &[
                review("subjectaccessreviews", "SubjectAccessReview"),
                review("selfsubjectaccessreviews", "SelfSubjectAccessReview"),
            ],
        )),
        ["openapi", "v3"] => Some(json!({"paths": {"api/v1": {"serverRelativeURL": "/openapi/v3/api/v1"}}})),
        ["openapi", "v3", "api", "v1"] => Some(openapi()),
        _ => None,
    }
}

fn version() -> Value {
    json!({
        "major": "1",
        "minor": "34",
        "gitVersion": "v1.34.0",
        "gitCommit": "0000000000000000000000000000000000000000",
        "gitTreeState": "clean",
        "buildDate": "2026-01-01T00:00:00Z",
        "goVersion": "go1.24",
        "compiler": "gc",
        "platform": "linux/amd64",
    })
}

fn group(name: &str) -> Value {
    let version = json!({"groupVersion": format!("{name}/v1"), "version": "v1"});
    json!({"kind": "APIGroup", "apiVersion": "v1", "name": name, "versions": [version], "preferredVersion": version})
}

fn resources(group_version: &str, resources: &[Value]) -> Value {
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources})
}

fn review(plural: &str, kind: &str) -> Value {
    json!({"name": plural, "singularName": kind.to_lowercase(), "namespaced": false, "kind": kind, "verbs": ["create"]})
}

/// A kind's resource and, if it has one, its status.
fn served(kind: &Kind) -> Vec<Value> {
    let resource = json!({
        "name": kind.plural,
        "singularName": kind.name.to_lowercase(),
        "namespaced": kind.namespaced,
        "kind": kind.name,
        "verbs": ["create", "delete", "get", "list", "patch", "update", "watch"],
        "shortNames": [kind.short],
        "categories": if *kind == kind::POD { vec!["all"] } else { vec![] },
    });
    let status = json!({
        "name": format!("{}/status", kind.plural),
        "singularName": "",
        "namespaced": kind.namespaced,
        "kind": kind.name,
        "verbs": ["get", "patch", "update"],
    });
    if kind.has_status { vec![resource, status] } else { vec![resource] }
}

/// Says of each kind that the server validates its fields itself: then kubectl does not ask for schemas.
fn openapi() -> Value {
    let path = |kind: &Kind| {
        let scope = if kind.namespaced { "/namespaces/{namespace}" } else { "" };
        let operation = json!({
            "x-kubernetes-group-version-kind": {"group": "", "version": "v1", "kind": kind.name},
            "x-kubernetes-action": "patch",
            "parameters": [{"name": "fieldValidation", "in": "query", "schema": {"type": "string"}}],
            "responses": {"200": {"description": "OK"}},
        });
        (format!("/api/v1{scope}/{}/{{name}}", kind.plural), json!({"patch": operation}))
    };
    let paths: serde_json::Map<String, Value> = kind::ALL.into_iter().map(path).collect();
    json!({"openapi": "3.0.0", "info": {"title": "Kubernetes", "version": "v1.34.0"}, "paths": paths})
}
