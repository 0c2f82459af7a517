//! A node with pods: the product's server beside emulators on the node's loopback, an agent that each test starts as it
//! needs, and pods behind interfaces of any name.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use http::Request;
use kiam_common::args::TlsArgs;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::timeout;

use super::{MetadataWorld, Namespace, sh};
use crate::kube_api;
use crate::real::http::{Answer, connect, try_send};
use crate::stack::{Program, ProgramError, Setup, Spec, Stack};

/// The node's addresses, as `--host` takes them.
pub const HOSTS: &str = "10.0.0.1,fd00:a::1";
const HOST: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
/// How long a pod tries to connect, or waits for an answer: what most SDKs allow.
const SDK_PATIENCE: Duration = Duration::from_secs(1);
/// A connection that is not there by then will not be: all of this is one machine.
const REFUSED_BY_THEN: Duration = Duration::from_millis(300);
/// Pods ask for their role here.
const LIST: &str = "/latest/meta-data/iam/security-credentials/";

/// All of it.
pub struct World {
    /// The server and the emulators.
    pub stack: Stack,
    /// What must never hear of a pod.
    pub metadata: MetadataWorld,
    /// Where agents look for servers.
    pub servers: String,
    tls: TlsArgs,
    pods: u8,
}

/// How a network plugin connects pods to the node.
#[derive(Clone, Copy, Debug)]
pub enum Link<'a> {
    /// By a route to each pod's own interface: Calico, the VPC CNI.
    Routed,
    /// By a bridge of this name: flannel, kindnet.
    Bridged(&'a str),
}

impl Link<'_> {
    /// Gives the pod its addresses, and its way to the node by an interface of this name.
    fn connect(self, pod: &Pod, interface: &str) {
        let (Pod { namespace, name, .. }, [v4, v6]) = (pod, pod.ips);
        sh(&format!("ip link add {interface} type veth peer name eth0 netns {name}"));
        namespace.ip(&format!("addr add {v4}/32 dev eth0"));
        namespace.ip(&format!("addr add {v6}/128 dev eth0 nodad"));
        namespace.ip("link set eth0 up");
        namespace.ip("route add 10.1.0.1 dev eth0");
        namespace.ip("route add default via 10.1.0.1");
        namespace.ip("-6 route add default via fe80::1 dev eth0");
        match self {
            Self::Routed => sh(&format!(
                "ip addr add 10.1.0.1/32 dev {interface}; ip addr add fe80::1/64 dev {interface} nodad
                 ip link set {interface} up; ip route add {v4}/32 dev {interface}; ip route add {v6}/128 dev {interface}"
            )),
            Self::Bridged(bridge) => {
                if !sh("ip -o link").contains(&format!(" {bridge}: ")) {
                    sh(&format!(
                        "ip link add {bridge} type bridge; ip link set {bridge} up; ip addr add 10.1.0.1/24 dev {bridge}
                         ip addr add fe80::1/64 dev {bridge} nodad; ip route add fd00:b::/64 dev {bridge}"
                    ));
                }
                sh(&format!("ip link set {interface} master {bridge} up"))
            }
        };
        namespace.connected_to(interface);
    }
}

/// A pod.
#[derive(Clone, Debug)]
pub struct Pod {
    /// Its addresses: IPv4 and IPv6.
    pub ips: [IpAddr; 2],
    /// Its name.
    pub name: String,
    /// The role that its annotation names: no other pod has it.
    pub role: String,
    /// Its network.
    pub namespace: Namespace,
}

impl World {
    /// A node without pods and without an agent. `binary` is the sandbox's.
    pub async fn start(binary: &str) -> Self {
        sh("echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
            ip addr add 10.0.0.1/32 dev lo; ip addr add fd00:a::1/128 dev lo nodad");
        let stack = Stack::start(Setup::new(binary, &[])).await.expect("a server and its emulators");
        stack.kube.put_namespace("default", &[("iam.amazonaws.com/permitted", ".*")]);
        let tls = stack.issue("node-a");
        let servers = stack.server.addresses().main.to_string();
        Self { stack, metadata: MetadataWorld::start().await, servers, tls, pods: 0 }
    }

    /// A pod behind an interface of this name, as network plugins make them that route.
    pub fn pod(&mut self, interface: &str) -> Pod {
        let pod = self.next_pod();
        Link::Routed.connect(&pod, interface);
        self.announce(&pod);
        pod
    }

    /// A pod behind the bridge of this name.
    pub fn pod_on_bridge(&mut self, bridge: &str) -> Pod {
        let pod = self.next_pod();
        Link::Bridged(bridge).connect(&pod, &format!("veth{}", self.pods));
        self.announce(&pod);
        pod
    }

    /// Another pod with the addresses of one whose network goes, and its interface with it. The Kubernetes API does not
    /// know yet.
    pub fn replacement(&mut self, old: &Pod, link: Link<'_>, interface: &str) -> Pod {
        // The interface goes with the namespace that its other end is in, some time after.
        sh(&format!(
            "before=$(ip -o link | wc -l); ip netns del {}; while [ $(ip -o link | wc -l) = $before ]; do sleep 0.01; done",
            old.name
        ));
        let pod = Pod { ips: old.ips, ..self.next_pod() };
        link.connect(&pod, interface);
        pod
    }

    /// Tells the Kubernetes API of a pod.
    pub fn announce(&self, pod: &Pod) {
        let [v4, v6] = pod.ips;
        let mut object = kube_api::Pod::new("default", &pod.name, "node-a", &v4.to_string(), &pod.role);
        object.ips.push(v6.to_string());
        self.stack.kube.put_pod(&object);
    }

    /// Tells it that a pod is gone.
    pub fn bury(&self, pod: &Pod) {
        assert!(self.stack.kube.remove_pod("default", &pod.name), "the pod was announced");
    }

    fn next_pod(&mut self) -> Pod {
        self.pods += 1;
        let number = self.pods;
        let name = format!("pod-{number}");
        let v4 = Ipv4Addr::new(10, 1, 0, 10 + number);
        let v6 = Ipv6Addr::new(0xfd00, 0xb, 0, 0, 0, 0, 0, 0x10 + u16::from(number));
        Pod { ips: [v4.into(), v6.into()], role: format!("role-{number}"), namespace: Namespace::add(&name), name }
    }

    /// Starts an agent on the node that intercepts by these flags. `path` is where it finds programs.
    pub async fn agent(&self, flags: &str, path: &str) -> Result<Program, ProgramError> {
        Program::start(self.agent_spec(flags, path)).await
    }

    /// What `agent` starts.
    pub fn agent_spec(&self, flags: &str, path: &str) -> Spec {
        let file = |path: &Path| path.display().to_string();
        let servers = &self.servers;
        let line = format!(
            "agent --json-log --prometheus-listen-addr 127.0.0.1:0 --server-address {servers} --metadata-endpoint {} \
             --node-name node-a \
             --cert {} --key {} --ca {} {flags}",
            self.stack.imds.url(),
            file(&self.tls.cert),
            file(&self.tls.key),
            file(&self.tls.ca)
        );
        Spec {
            name: "node-a".into(),
            binary: self.stack.binary(),
            arguments: line.split_whitespace().map(Into::into).collect(),
            environment: vec![("PATH".into(), path.into())],
            directory: self.stack.directory(),
        }
    }

    /// The STS's URL for pods: it listens on the node's loopback.
    pub async fn sts_for_pods(&self) -> String {
        let sts = self.stack.sts.url();
        let inside = sts.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind((HOST, 0)).await.expect("a port of the node");
        let address = listener.local_addr().expect("it is bound");
        tokio::spawn(async move {
            while let Ok((mut pod, _)) = listener.accept().await {
                let inside = inside.clone();
                tokio::spawn(async move {
                    let mut sts = TcpStream::connect(inside).await?;
                    tokio::io::copy_bidirectional(&mut pod, &mut sts).await
                });
            }
        });
        format!("http://{address}")
    }
}

impl Pod {
    /// What a GET of the role's name at this address answers, if anything does in the time that SDKs allow.
    pub async fn ask(&self, metadata: IpAddr) -> Option<Answer> {
        let from = self.ips[usize::from(metadata.is_ipv6())];
        let asked = async move {
            let request = Request::get(LIST).body(String::new()).expect("the path is sound");
            timeout(SDK_PATIENCE, try_send(from, SocketAddr::new(metadata, 80), request)).await.ok()?.ok()
        };
        self.namespace.run(asked).await
    }

    /// Whether a TCP connection to this port of this address comes about.
    pub async fn connects(&self, to: SocketAddr) -> bool {
        let from = self.ips[usize::from(to.is_ipv6())];
        self.namespace.run(async move { matches!(timeout(REFUSED_BY_THEN, connect(from, to)).await, Ok(Ok(_))) }).await
    }

    /// Sends a UDP packet.
    pub async fn send_packet(&self, to: SocketAddr) {
        let from = self.ips[usize::from(to.is_ipv6())];
        let sent = self.namespace.run(async move { UdpSocket::bind((from, 0)).await?.send_to(b"hello", to).await });
        sent.await.expect("the pod has a way out");
    }

    /// The name of the role that is answered, or the status.
    pub async fn role_at(&self, metadata: IpAddr) -> String {
        match self.ask(metadata).await {
            Some(answer) if answer.status.is_success() => answer.body,
            Some(answer) => answer.status.to_string(),
            None => "no answer".into(),
        }
    }
}
