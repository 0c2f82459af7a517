//! A Kubernetes API server with its etcd, and the server's account in it with exactly the rights of
//! `deploy/kustomize/base/rbac.yaml`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use super::namespace::AGENT_ACCOUNT;
use super::process::Process;
use super::{eventually, free_port, installed};

/// A line of the API server's token file: a token, and whose it is.
const ADMIN: &str = "admin-token,admin,admin-uid,system:masters\n";

/// What etcd listens on: a socket in its directory, which nobody else can have taken.
const ETCD: &str = "unix://localhost:15379";

/// A running API server.
#[derive(Debug)]
pub struct KubeApiServer {
    dir: PathBuf,
    port: u16,
    process: Option<Process>,
    _etcd: Process,
}

impl KubeApiServer {
    /// Starts etcd and the API server, and gives the server its account.
    pub async fn start() -> Self {
        let etcd = etcd();
        let dir = tempfile::tempdir().expect("a directory for Kubernetes").keep();
        let signing_key = rcgen::KeyPair::generate().expect("a key");
        fs::write(dir.join("sa.key"), signing_key.serialize_pem()).expect("the key can be written");
        fs::write(dir.join("sa.pub"), signing_key.public_key_pem()).expect("the key can be written");
        fs::write(dir.join("tokens.csv"), ADMIN).expect("the token can be written");
        let etcd = Process::start_with_own_directory("etcd", &etcd, &dir);
        let mut server = Self { dir, port: free_port(), process: None, _etcd: etcd };
        server.resume().await;
        server.create_server_account().await;
        server
    }

    /// Kills the API server; etcd stays.
    pub fn stop(&mut self) {
        self.process = None;
    }

    /// Starts the API server on the same port and etcd, until it is ready.
    pub async fn resume(&mut self) {
        let mut process = Process::start("kube-apiserver", &self.command(), &self.dir);
        self.write_kubeconfig("admin", "admin-token");
        eventually("kube-apiserver to be ready", async || {
            process.assert_running();
            // Clients read the certificate that the API server makes for itself when it starts.
            let client = self.client().await?;
            let request = http::Request::get("/api/v1/namespaces/kube-system").body(vec![]).ok()?;
            client.request_text(request).await.ok()
        })
        .await;
        self.process = Some(process);
    }

    /// A client that may do everything; none while there is no API server.
    pub async fn client(&self) -> Option<Client> {
        let kubeconfig = Kubeconfig::read_from(self.kubeconfig("admin")).ok()?;
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.ok()?;
        Client::try_from(config).ok()
    }

    /// What the server is given as `--kubeconfig`: its own account's token.
    pub fn server_kubeconfig(&self) -> PathBuf {
        self.kubeconfig("kiam-server")
    }

    /// What somebody who may do everything is given as `--kubeconfig`.
    pub fn admin_kubeconfig(&self) -> PathBuf {
        self.kubeconfig("admin")
    }

    /// What a server is given as `--kubeconfig` that runs in this namespace with this account.
    pub fn account_kubeconfig(&self, namespace: &str, account: &str) -> PathBuf {
        let user = format!("{namespace}.{account}");
        self.write_kubeconfig(&user, &self.token(namespace, account));
        self.kubeconfig(&user)
    }

    /// A token of an account, for the API server itself.
    pub fn token(&self, namespace: &str, account: &str) -> String {
        self.kubectl(&["create", "token", account, "--namespace", namespace]).trim().into()
    }

    /// What the admin's kubectl prints.
    ///
    /// # Panics
    /// With its output, if it fails.
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        self.try_kubectl(arguments).unwrap_or_else(|said| panic!("kubectl {arguments:?}: {said}"))
    }

    /// The same, or what it says when it fails.
    pub fn try_kubectl(&self, arguments: &[&str]) -> Result<String, String> {
        let mut command = Command::new(installed("KUBEBUILDER_ASSETS").join("kubectl"));
        command.env("HOME", &self.dir).arg("--kubeconfig").arg(self.kubeconfig("admin")).args(arguments);
        let Output { status, stdout, stderr } = command.output().expect("kubectl starts");
        let printed = String::from_utf8_lossy(&stdout).into_owned();
        if status.success() { Ok(printed) } else { Err(printed + &String::from_utf8_lossy(&stderr)) }
    }

    /// A token of the agents' account for somebody, as a kubelet asks for one: bound to the agent's pod, if one is named.
    pub fn agent_token(&self, namespace: &str, audience: &str, pod: Option<&str>) -> String {
        self.account_token(AGENT_ACCOUNT, namespace, audience, pod)
    }

    /// The same of any account.
    pub fn account_token(&self, account: &str, namespace: &str, audience: &str, pod: Option<&str>) -> String {
        let audience = format!("--audience={audience}");
        let mut arguments = vec!["create", "token", account, "--namespace", namespace, &audience];
        let name = pod.map(|pod| format!("--bound-object-name={pod}"));
        if let Some(name) = &name {
            arguments.extend(["--bound-object-kind=Pod", name]);
        }
        self.kubectl(&arguments).trim().into()
    }

    /// The key that signs tokens, in PEM.
    pub fn signing_key(&self) -> String {
        fs::read_to_string(self.dir.join("sa.key")).expect("the key was written")
    }

    /// Whether the server's account has this right in all of the cluster.
    pub fn server_may(&self, verb: &str, resource: &str) -> bool {
        self.account_may("kube-system", "kiam-server", verb, resource)
    }

    /// The same of any account.
    pub fn account_may(&self, namespace: &str, account: &str, verb: &str, resource: &str) -> bool {
        let account = format!("--as=system:serviceaccount:{namespace}:{account}");
        self.try_kubectl(&["auth", "can-i", verb, resource, "--all-namespaces", &account]).is_ok()
    }

    /// Hands kubectl a manifest: `apply --filename -`, say.
    pub fn feed_kubectl(&self, arguments: &[&str], manifest: &str) -> Result<String, String> {
        let file = tempfile::NamedTempFile::new_in(&self.dir).expect("a file for the manifest");
        fs::write(file.path(), manifest).expect("the manifest can be written");
        let path = file.path().display().to_string();
        self.try_kubectl(&[arguments, &["--filename", &path]].concat())
    }

    async fn create_server_account(&self) {
        let rbac = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/kustomize/base/rbac.yaml");
        self.kubectl(&["apply", "--filename", &rbac.display().to_string()]);
        self.write_kubeconfig("kiam-server", &self.token("kube-system", "kiam-server"));
        eventually("the server's rights to take effect", async || self.server_may("list", "pods").then_some(())).await;
    }

    fn kubeconfig(&self, user: &str) -> PathBuf {
        self.dir.join(format!("{user}.kubeconfig"))
    }

    fn write_kubeconfig(&self, user: &str, token: &str) {
        let kubeconfig = serde_json::json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "tests", "cluster": {
                "server": format!("https://127.0.0.1:{}", self.port),
                "certificate-authority": self.dir.join("certs/apiserver.crt"),
            }}],
            "users": [{"name": user, "user": {"token": token}}],
            "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": user}}],
            "current-context": "tests",
        });
        fs::write(self.kubeconfig(user), kubeconfig.to_string()).expect("the kubeconfig can be written");
    }

    fn command(&self) -> Command {
        let mut command = Command::new(installed("KUBEBUILDER_ASSETS").join("kube-apiserver"));
        command.args([
            &format!("--etcd-servers={ETCD}"),
            "--cert-dir=certs",
            "--bind-address=127.0.0.1",
            &format!("--secure-port={}", self.port),
            "--advertise-address=127.0.0.1",
            "--endpoint-reconciler-type=none",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--service-account-key-file=sa.pub",
            "--service-account-signing-key-file=sa.key",
            "--token-auth-file=tokens.csv",
            "--authorization-mode=RBAC",
            // It would wait for each namespace's default account, which no controller makes here.
            "--disable-admission-plugins=ServiceAccount",
        ]);
        command
    }
}

fn etcd() -> Command {
    let mut command = Command::new(installed("KUBEBUILDER_ASSETS").join("etcd"));
    command.args([
        "--data-dir=etcd",
        &format!("--listen-client-urls={ETCD}"),
        &format!("--advertise-client-urls={ETCD}"),
        "--listen-peer-urls=http://127.0.0.1:0",
        "--unsafe-no-fsync",
        "--log-level=error",
    ]);
    command
}
