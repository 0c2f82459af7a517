//! The sandbox's world: the stack, the roles that exist in its AWS, and the pods that run in its cluster.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::SandboxError;
use super::args::Args;
use super::kubelet::Kubelet;
use super::manifests::Manifests;
use super::sdk::{self, Asked};
use crate::stack::{Node, ROLE_BASE_ARN, Relay, Setup, Stack};
use crate::sts::Role;

/// What runs unless `--pods` says otherwise.
const DEFAULT_PODS: &str = include_str!("pods.yaml");

/// What pods may read of the instance metadata service.
const ALLOWED_ROUTES: &str = "/latest/meta-data/(instance-id|placement/.*)";

/// All that there is.
pub(super) struct World {
    pub(super) stack: Stack,
    manifests: Manifests,
    kubelet: Kubelet,
    complaint: Option<String>,
}

impl World {
    /// Starts everything, and the pods.
    pub(super) async fn start(args: &Args) -> Result<Self, SandboxError> {
        let stack = Stack::start(Setup {
            // On the tour, so that as much as possible is searched for secrets.
            log_level: if args.once { "debug" } else { "info" },
            agent_flags: vec!["--allow-route-regexp".into(), ALLOWED_ROUTES.into()],
            ..Setup::new(std::env::current_exe()?, &["node-a", "node-b"])
        })
        .await?;
        stack.sts.set_role(&role_arn("untrusting"), Role { trusted: false, ..Role::default() });
        let for_one_tenant = Role { external_id: Some("tenant-42".into()), ..Role::default() };
        stack.sts.set_role(&role_arn("billing-writer"), for_one_tenant);
        let pods = pods_file(args, &stack.directory())?;
        let mut world = Self { stack, manifests: Manifests::new(pods), kubelet: Kubelet::default(), complaint: None };
        world.manifests.follow(&world.stack.kube).map_err(SandboxError::Pods)?;
        world.settle();
        Ok(world)
    }

    /// The file that pods come from.
    pub(super) fn pods_file(&self) -> &Path {
        self.manifests.path()
    }

    /// Applies what has changed in that file.
    pub(super) fn follow_manifests(&mut self) {
        self.complaint = self.manifests.follow(&self.stack.kube).err();
    }

    /// Runs the pods that run nowhere yet.
    pub(super) fn settle(&mut self) {
        self.kubelet.settle(&self.stack);
    }

    /// Asks for credentials once, as the application in a pod does.
    pub(super) async fn ask_as(&self, pod: &str) -> Result<Asked, String> {
        let (node, address) = self.place_of(pod)?;
        let relay = Relay::start(address, node.agent.addresses().main).await.map_err(|error| error.to_string())?;
        Ok(sdk::ask(relay.addr(), &self.stack.sts.url()).await)
    }

    /// The node and the address of a running pod, which is named `namespace/name`.
    pub(super) fn place_of(&self, pod: &str) -> Result<(&Node, IpAddr), String> {
        let (namespace, name) = pod.split_once('/').unwrap_or_default();
        let object = self.stack.kube.pod(namespace, name).ok_or_else(|| format!("there is no pod {pod}"))?;
        let node = self.stack.nodes.iter().find(|node| object["spec"]["nodeName"] == *node.name);
        let address = object["status"]["podIP"].as_str().and_then(|address| address.parse().ok());
        node.zip(address).ok_or_else(|| format!("{pod} runs on no node"))
    }

    /// What is wrong with that file.
    pub(super) fn complaint(&self) -> Option<&str> {
        self.complaint.as_deref()
    }
}

/// The ARN of a role of the server's own account.
pub(super) fn role_arn(name: &str) -> String {
    format!("{ROLE_BASE_ARN}{name}")
}

fn pods_file(args: &Args, directory: &Path) -> Result<PathBuf, SandboxError> {
    if let Some(given) = &args.pods {
        return Ok(given.clone());
    }
    let own = directory.join("pods.yaml");
    std::fs::write(&own, DEFAULT_PODS)?;
    Ok(own)
}
