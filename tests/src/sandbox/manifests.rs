//! `pods.yaml`: pods and namespaces as `kubectl apply` takes them, followed while the sandbox runs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use crate::kube_api::KubeApi;

/// Kind, namespace and name. Namespaces sort before pods, so they are there when their pods come.
type Key = (String, String, String);

/// The file, and what of it has been applied.
#[derive(Debug)]
pub(super) struct Manifests {
    path: PathBuf,
    text: String,
    applied: BTreeMap<Key, Value>,
}

impl Manifests {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, text: String::new(), applied: BTreeMap::new() }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Applies what has changed in the file since the last time, and deletes what has gone from it. What others have
    /// done to the rest stays. Of a file that is no use nothing is applied.
    pub(super) fn follow(&mut self, kube: &KubeApi) -> Result<(), String> {
        let in_file = |why: &dyn std::fmt::Display| format!("{}: {why}", self.path.display());
        let text = std::fs::read_to_string(&self.path).map_err(|error| in_file(&error))?;
        if text == self.text {
            return Ok(());
        }
        let wanted = parse(&text).map_err(|why| in_file(&why))?;
        let gone: Vec<Key> = self.applied.keys().filter(|key| !wanted.contains_key(*key)).cloned().collect();
        for (key, object) in &wanted {
            if self.applied.get(key) != Some(object) {
                kube.apply(object).map_err(|why| in_file(&why))?;
                self.applied.insert(key.clone(), object.clone());
            }
        }
        for key in gone {
            if let Some(object) = self.applied.remove(&key) {
                kube.delete(&object).map_err(|why| in_file(&why))?;
            }
        }
        self.text = text;
        Ok(())
    }
}

/// The objects of all documents, those in a `List` too.
fn parse(text: &str) -> Result<BTreeMap<Key, Value>, String> {
    let mut objects = BTreeMap::new();
    for document in serde_norway::Deserializer::from_str(text) {
        let document = Value::deserialize(document).map_err(|error| error.to_string())?;
        if document.is_null() {
            continue;
        }
        let list = document["items"].as_array().cloned();
        for object in list.unwrap_or_else(|| vec![document]) {
            objects.insert(key(&object)?, object);
        }
    }
    Ok(objects)
}

fn key(object: &Value) -> Result<Key, String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (kind, name) = (text(&object["kind"]), text(&object["metadata"]["name"]));
    if kind != "Pod" && kind != "Namespace" {
        return Err(format!("kind {kind:?}: expected Pod or Namespace"));
    }
    if name.is_empty() {
        return Err(format!("a {kind} without metadata.name"));
    }
    Ok((kind, text(&object["metadata"]["namespace"]), name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pods.yaml");
        std::fs::write(&path, text).unwrap();
        (directory, path)
    }

    fn pod(name: &str, role: &str) -> String {
        let metadata = format!("{{name: {name}, annotations: {{iam.amazonaws.com/role: {role}}}}}");
        format!("---\napiVersion: v1\nkind: Pod\nmetadata: {metadata}\nspec: {{containers: []}}\n")
    }

    fn roles(kube: &KubeApi) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let role = |pod: &Value| text(&pod["metadata"]["annotations"]["iam.amazonaws.com/role"]);
        kube.pods().iter().map(|pod| (text(&pod["metadata"]["name"]), role(pod))).collect()
    }

    #[tokio::test]
    async fn what_is_in_the_file_is_applied_and_what_goes_from_it_is_deleted() {
        let kube = KubeApi::start().await.unwrap();
        let (_directory, path) = file(&(pod("a", "one") + &pod("b", "two")));
        let mut manifests = Manifests::new(path.clone());
        manifests.follow(&kube).unwrap();
        assert_eq!(roles(&kube), [("a".into(), "one".into()), ("b".into(), "two".into())]);
        kube.annotate_pod("default", "a", "iam.amazonaws.com/role", Some("by hand"));
        std::fs::write(&path, pod("a", "one") + &pod("c", "three")).unwrap();
        manifests.follow(&kube).unwrap();
        assert_eq!(roles(&kube), [("a".into(), "by hand".into()), ("c".into(), "three".into())]);
    }

    #[tokio::test]
    async fn a_file_that_is_no_use_changes_nothing_and_says_why() {
        let kube = KubeApi::start().await.unwrap();
        for (text, why) in [
            ("kind: Deployment\nmetadata: {name: a}\n", "\"Deployment\": expected Pod or Namespace"),
            ("kind: Pod\n", "without metadata.name"),
            ("kind: [Pod\n", "line"),
        ] {
            let (_directory, path) = file(&(pod("a", "one") + "---\n" + text));
            let error = Manifests::new(path).follow(&kube).unwrap_err();
            assert!(error.contains(why) && error.contains("pods.yaml"), "{error}");
            assert!(roles(&kube).is_empty());
        }
    }
}
