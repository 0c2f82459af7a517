//! Network namespaces: a node, its pods and an instance metadata service at its real address, none of which this
//! machine's own network ever sees.
//!
//! A test that calls [`inside`] runs in a process of its own with a network, mounts and processes of its own. It is
//! root there, if need be by a user namespace, so no test needs rights. All of it is gone with the process.

mod metadata;
mod world;

use std::env;
use std::fs::File;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::thread;

use rustix::process::geteuid;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::runtime::Handle;

pub use metadata::{CONTAINER_CREDENTIALS, METADATA, MetadataWorld};
pub use world::{HOSTS, Link, Pod, World};

/// Set in the process that a test runs in.
const INSIDE: &str = "KIAM_TEST_INSIDE";

/// Nobody else is here who could have the same IPv6 addresses, so nobody is asked.
const USABLE_AT_ONCE: &str =
    "for sign in accept_dad dad_transmits; do echo 0 >/proc/sys/net/ipv6/conf/default/$sign; done";

/// Runs the body of the test that calls this in namespaces of its own.
///
/// # Panics
/// If the test fails there, with all that it said.
pub fn inside(test: impl Future<Output = ()>) {
    if env::var_os(INSIDE).is_some() {
        sh(&format!("mount -t tmpfs none /run; mkdir /run/netns; ip link set lo up; {USABLE_AT_ONCE}"));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        return runtime.expect("threads").block_on(test);
    }
    // The test program names the thread of each test after the test.
    let name = thread::current().name().filter(|name| *name != "main").map(str::to_owned);
    let name = name.expect("tests run in threads of their own: no --test-threads=1");
    let mut command = Command::new("unshare");
    if !geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    command.arg(env::current_exe().expect("this program")).args(["--exact", &name, "--nocapture"]);
    let output = command.env(INSIDE, "yes").output().expect("unshare, of Debian's util-linux, is on PATH");
    let said = said(&output);
    assert!(output.status.success() && said.contains("1 passed"), "{name} in namespaces of its own:\n{said}");
    print!("{said}");
}

/// Runs commands of the shell in the node's namespace.
///
/// # Panics
/// If one fails.
pub fn sh(script: &str) -> String {
    let output = Command::new("sh").args(["-euc", script]).output().expect("a shell");
    let said = said(&output);
    assert!(output.status.success(), "{script}\nended with {} and said\n{said}", output.status);
    said
}

fn said(output: &Output) -> String {
    [String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)].concat()
}

/// A network namespace beside the node's.
#[derive(Clone, Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// An empty one.
    pub fn add(name: &str) -> Self {
        sh(&format!("ip netns add {name}; ip -n {name} link set lo up"));
        let namespace = Self { name: name.into() };
        namespace.sh(USABLE_AT_ONCE);
        namespace
    }

    /// Runs commands of the shell in it.
    pub fn sh(&self, script: &str) -> String {
        sh(&format!("ip netns exec {} sh -euc '{script}'", self.name))
    }

    /// Waits until packets pass between its `eth0` and the node's interface, whose other end that is. The kernel takes
    /// its time after both are up.
    pub fn connected_to(&self, interface: &str) {
        let up = |link: &str| format!("until ip {link} | grep -q \"state UP\"; do sleep 0.01; done");
        sh(&up(&format!("-o link show {interface}")));
        sh(&up(&format!("-n {} -o link show eth0", self.name)));
    }

    /// Runs `ip` on it.
    pub fn ip(&self, arguments: &str) {
        sh(&format!("ip -n {} {arguments}", self.name));
    }

    /// Runs a future in it: the sockets that the future itself opens, not the tasks it spawns, belong to it for good.
    pub async fn run<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> T {
        let path = PathBuf::from("/run/netns").join(&self.name);
        let handle = Handle::current();
        let (tell, told) = tokio::sync::oneshot::channel();
        thread::spawn(move || {
            let namespace = File::open(path).expect("the namespace");
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).expect("root moves");
            // The test has gone if nobody is told.
            let _ = tell.send(handle.block_on(future));
        });
        told.await.expect("the future ends")
    }

    /// Its name, for `ip netns exec`.
    pub fn name(&self) -> &str {
        &self.name
    }
}
