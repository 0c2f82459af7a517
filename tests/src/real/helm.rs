//! Helm, as an operator runs it against the tests' API server.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

use super::installed;
use super::kube_apiserver::KubeApiServer;

/// Helm with the admin's rights, and a directory for files of values.
#[derive(Debug)]
pub struct Helm {
    kubeconfig: PathBuf,
    home: TempDir,
}

impl Helm {
    /// For this cluster.
    pub fn new(kubernetes: &KubeApiServer) -> Self {
        Self { kubeconfig: kubernetes.admin_kubeconfig(), home: tempfile::tempdir().expect("a directory for Helm") }
    }

    /// What Helm prints, or what it says when it fails.
    pub fn try_run(&self, arguments: &[&str]) -> Result<String, String> {
        let mut command = Command::new(installed("KIAM_TEST_HELM"));
        command.env_clear().env("HOME", self.home.path()).arg("--kubeconfig").arg(&self.kubeconfig).args(arguments);
        let Output { status, stdout, stderr } = command.output().expect("helm starts");
        let printed = String::from_utf8_lossy(&stdout).into_owned();
        if status.success() { Ok(printed) } else { Err(printed + &String::from_utf8_lossy(&stderr)) }
    }

    /// What Helm prints.
    ///
    /// # Panics
    /// With its output, if it fails.
    pub fn run(&self, arguments: &[&str]) -> String {
        self.try_run(arguments).unwrap_or_else(|said| panic!("helm {arguments:?}: {said}"))
    }

    /// A file with these values.
    pub fn values(&self, values: &Value) -> PathBuf {
        let file = tempfile::Builder::new().prefix("values-").tempfile_in(self.home.path()).expect("a file of values");
        let (_, path) = file.keep().expect("a file of values");
        // JSON is YAML.
        fs::write(&path, values.to_string()).expect("the values can be written");
        path
    }
}

/// The product's chart.
pub fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/charts/kiam-rs")
}
