//! The pods that a workload's manifest makes, and how to run their programs here: the command line, the variables, and
//! the secrets and tokens as files.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use kiam_tests::real::program::Invocation;
use serde_json::{Value, json};

use crate::cluster::Cluster;

/// The binary that is both programs.
pub(crate) const PROGRAMS: &str = env!("CARGO_BIN_EXE_kiam-sandbox");
/// The node that everything runs on.
pub(crate) const NODE: &str = "node-a";

/// The pods of a workload. All that a kubelet would do for them is done here.
pub(crate) struct Pods<'a> {
    cluster: &'a Cluster,
    namespace: &'a str,
    template: Value,
}

impl<'a> Pods<'a> {
    /// Of a workload such as `daemonset/kiam-agent`.
    pub(crate) fn of(cluster: &'a Cluster, namespace: &'a str, workload: &str) -> Self {
        let template = cluster.get(namespace, workload)["spec"]["template"].take();
        assert!(template.is_object(), "no {workload} in {namespace}");
        Self { cluster, namespace, template }
    }

    /// The service account that they run with.
    pub(crate) fn account(&self) -> &str {
        self.template["spec"]["serviceAccountName"].as_str().expect("an account")
    }

    /// Makes one on the node, as the workload's controller would.
    pub(crate) fn make(&self, name: &str) {
        let mut pod = self.template.clone();
        pod["apiVersion"] = json!("v1");
        pod["kind"] = json!("Pod");
        pod["metadata"]["name"] = json!(name);
        pod["metadata"]["namespace"] = json!(self.namespace);
        pod["spec"]["nodeName"] = json!(NODE);
        self.cluster.kubernetes.feed_kubectl(&["apply"], &pod.to_string()).expect("the pod is taken");
    }

    /// How to run the container of the pod of this name, whose files go below `directory`.
    pub(crate) fn invocation(&self, words: &'static [&'static str], pod: &str, directory: &Path) -> Invocation {
        let container = &self.template["spec"]["containers"][0];
        let settings = list(&container["envFrom"]).iter().flat_map(|from| self.settings(from));
        let given: Vec<(String, String)> = list(&container["env"]).iter().map(variable).collect();
        let paths = self.mount(container, pod, directory);
        let mut invocation = Invocation::new(PROGRAMS, words);
        for argument in list(&container["args"]) {
            let argument = expand(text(argument), &given, &paths);
            let (name, value) = argument.split_once('=').unwrap_or((&argument, "true"));
            invocation = match name.strip_prefix("--no-") {
                Some(switch) => invocation.flag(&format!("--{switch}"), false),
                None => invocation.flag(name, value),
            };
        }
        settings.chain(given.clone()).fold(invocation, |invocation, (name, value)| invocation.env(&name, value))
    }

    /// The variables of a config map.
    fn settings(&self, from: &Value) -> BTreeMap<String, String> {
        let name = text(&from["configMapRef"]["name"]);
        let map = self.cluster.get(self.namespace, &format!("configmap/{name}"));
        map["data"]
            .as_object()
            .expect("the config map")
            .iter()
            .map(|(key, value)| (key.clone(), text(value).into()))
            .collect()
    }

    /// Writes the files that are mounted. Returns where each path of the container is here.
    fn mount(&self, container: &Value, pod: &str, directory: &Path) -> BTreeMap<String, String> {
        let mut paths = BTreeMap::new();
        for mount in list(&container["volumeMounts"]) {
            let path = text(&mount["mountPath"]);
            let here = directory.join(path.trim_start_matches('/'));
            fs::create_dir_all(&here).expect("a directory");
            let volumes = list(&self.template["spec"]["volumes"]);
            let volume = volumes.iter().find(|volume| volume["name"] == mount["name"]).expect("the mount's volume");
            for (name, content) in self.files(volume, pod) {
                fs::write(here.join(name), content).expect("the file can be written");
            }
            paths.insert(path.to_owned(), here.display().to_string());
        }
        paths
    }

    /// What is in a secret, or the token that a kubelet asks for. What is the node's own is not looked at.
    fn files(&self, volume: &Value, pod: &str) -> Vec<(String, Vec<u8>)> {
        let secret = &volume["secret"]["secretName"];
        if secret.is_string() {
            let secret = self.cluster.get(self.namespace, &format!("secret/{}", text(secret)));
            let files = secret["data"].as_object().expect("the volume's secret");
            let decoded = |value: &Value| BASE64_STANDARD.decode(text(value)).expect("base64");
            return files.iter().map(|(name, value)| (name.clone(), decoded(value))).collect();
        }
        let token = &volume["projected"]["sources"][0]["serviceAccountToken"];
        if token.is_null() {
            return Vec::new();
        }
        let audience = text(&token["audience"]);
        let bound = self.cluster.kubernetes.account_token(self.account(), self.namespace, audience, Some(pod));
        vec![(text(&token["path"]).to_owned(), bound.into_bytes())]
    }
}

/// A variable of a container. Those that are fields of the pod are what they would be on the node.
fn variable(given: &Value) -> (String, String) {
    let value = match given["valueFrom"]["fieldRef"]["fieldPath"].as_str() {
        Some("spec.nodeName") => NODE,
        Some("status.hostIP" | "status.hostIPs") => "10.0.0.1",
        Some(other) => panic!("a field that no test knows: {other}"),
        None => text(&given["value"]),
    };
    (text(&given["name"]).to_owned(), value.to_owned())
}

/// An argument with its variables and paths as they are here.
fn expand(argument: &str, variables: &[(String, String)], paths: &BTreeMap<String, String>) -> String {
    let named = variables
        .iter()
        .fold(argument.to_owned(), |argument, (name, value)| argument.replace(&format!("$({name})"), value));
    paths.iter().fold(named, |argument, (path, here)| argument.replace(&format!("={path}/"), &format!("={here}/")))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}
