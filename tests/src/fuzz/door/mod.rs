//! The metadata port of a whole agent: requests of any bytes, and session tokens of any bytes. Behind the agent is a
//! metadata service that reads what reaches it with a parser of its own.

mod caller;
mod paths;
mod tokens;
mod upstream;

use std::fs::File;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use tokio::process::Child;
use tokio::runtime::Runtime;

pub use paths::Paths;
pub use tokens::Tokens;

use self::caller::Caller;
use self::upstream::{Permitted, Upstream};
use crate::kube_api::Pod;
use crate::real::http::connect;
use crate::real::program::Invocation;
use crate::real::{eventually, free_port};
use crate::stack::{Setup, Stack};

const POD: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 9, 0, 9));

/// One agent, and all that it needs.
struct Agent {
    caller: Caller,
    upstream: Upstream,
    _program: Child,
    _stack: Stack,
    runtime: Runtime,
}

impl Agent {
    /// Starts an agent with these flags, of which there may reach the metadata service what is permitted. `binary` is
    /// that of the sandbox.
    fn start(binary: &Path, flags: &[(&str, &str)], permitted: Permitted) -> Self {
        let runtime = Runtime::new().expect("threads");
        let (caller, upstream, program, stack) = runtime.block_on(start(binary, flags, permitted));
        Self { caller, upstream, _program: program, _stack: stack, runtime }
    }
}

async fn start(binary: &Path, flags: &[(&str, &str)], permitted: Permitted) -> (Caller, Upstream, Child, Stack) {
    let stack = Stack::start(Setup::new(binary, &[])).await.expect("the stack starts");
    stack.kube.put_namespace("fuzz", &[("iam.amazonaws.com/permitted", ".*")]);
    stack.kube.put_pod(&Pod::new("fuzz", "reader", "node-a", &POD.to_string(), "reader"));
    let upstream = Upstream::start(permitted).await.expect("a free port");
    let identity = stack.issue("node-a");
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let agent = Invocation::new(&binary.display().to_string(), &["agent"])
        // A line for each refusal would fill the disk.
        .flag("--level", "error")
        .flag("--cert", identity.cert.display())
        .flag("--key", identity.key.display())
        .flag("--ca", identity.ca.display())
        .flag("--bind", address.ip())
        .flag("--port", address.port())
        .flag("--prometheus-listen-addr", "")
        .flag("--server-address", stack.server.addresses().main)
        .flag("--metadata-endpoint", format!("http://{}", upstream.address()));
    let agent = flags.iter().fold(agent, |agent, (flag, value)| agent.flag(flag, value));
    let log = File::create(stack.directory().join("agent.log")).expect("the log can be written");
    let agent = agent.spawn(log);
    eventually("the agent to listen", async || connect(POD, address).await.ok()).await;
    (Caller::new(POD, address), upstream, agent, stack)
}
