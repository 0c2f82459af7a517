//! The flags of the interception, and the command line that has them without the agent's others.

use clap::{ArgAction, Args, ValueEnum};

use crate::intercept::command::Action;
use crate::intercept::{Hosts, Interception, Interfaces, Method, Plan};

/// How pods' requests are sent to the agent.
#[derive(Args, Clone, Debug)]
pub(crate) struct InterceptArgs {
    /// Send pods' metadata requests to the agent, by rules that the agent keeps in the kernel
    #[arg(long, value_enum, default_value = "none")]
    intercept: Intercept,

    /// Kiam's spelling of --intercept=iptables
    #[arg(long, num_args = 0..=1, default_value = "false", default_missing_value = "true", require_equals = true,
          action = ArgAction::Set)]
    iptables: bool,

    /// Take the rules away when the agent ends, which opens the node's own role to every pod
    #[arg(long, num_args = 0..=1, default_value = "false", default_missing_value = "true", require_equals = true,
          action = ArgAction::Set)]
    iptables_remove: bool,

    /// The node's address that requests are sent to, or one of each IP version; default also from `HOST_IP`
    #[arg(long, value_name = "IP[,IP]", default_value = host_ip())]
    host: Hosts,

    /// Interfaces that pods are behind: cali+, eni+,vlan+ or !eth0
    #[arg(long, value_name = "PATTERN[,PATTERN]", default_value = "docker0")]
    host_interface: Interfaces,

    /// Send requests for container credentials (169.254.170.23 and `fd00:ec2::23`) to the agent, too
    #[arg(long, num_args = 0..=1, default_value = "true", default_missing_value = "true", require_equals = true,
          action = ArgAction::Set)]
    intercept_container_credentials: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Intercept {
    /// A table of nftables; no program is needed
    Nftables,
    /// Chains of iptables and ip6tables, by their programs
    Iptables,
    /// No rules, or those that somebody else keeps
    None,
}

/// Kubernetes gives a pod its node's address in a variable.
fn host_ip() -> String {
    std::env::var("HOST_IP").unwrap_or_default()
}

impl InterceptArgs {
    /// What the agent is to keep, if anything; or one line about the flags that do not go together.
    pub(crate) fn interception(&self, port: u16) -> Result<Option<Interception>, String> {
        let method = match (self.intercept, self.iptables) {
            (Intercept::Nftables, true) => {
                return Err("--iptables: expected without --intercept=nftables, which is another kind of rules".into());
            }
            (Intercept::Nftables, false) => Method::Nftables,
            (Intercept::Iptables, _) | (Intercept::None, true) => Method::Iptables,
            (Intercept::None, false) => return Ok(None),
        };
        if self.host.is_empty() {
            return Err("--host: expected the node's IP address, which requests are sent to".into());
        }
        if port == 0 {
            return Err("--port: \"0\" is not valid: expected the port that requests are sent to".into());
        }
        let plan = Plan {
            interfaces: self.host_interface.clone(),
            hosts: self.host,
            port,
            container_credentials: self.intercept_container_credentials,
        };
        Ok(Some(Interception { method, plan, remove_at_exit: self.iptables_remove }))
    }

    /// The same for every node.
    pub(super) fn without_hosts(self) -> Self {
        Self { host: Hosts::default(), ..self }
    }

    #[cfg(test)]
    pub(crate) fn nftables(hosts: &str) -> Self {
        Self {
            intercept: Intercept::Nftables,
            iptables: false,
            iptables_remove: false,
            host: hosts.parse().unwrap(),
            host_interface: "eni+".parse().unwrap(),
            intercept_container_credentials: true,
        }
    }
}

/// Writes, judges or takes away the rules once: for init containers and for people
#[derive(Args, Clone, Debug)]
pub(crate) struct InterceptCommand {
    /// What to do
    #[arg(value_enum)]
    pub(crate) action: Action,

    #[command(flatten)]
    flags: InterceptArgs,

    /// The agent's port, which requests are sent to
    #[arg(long, value_name = "PORT", default_value = "3100")]
    port: u16,
}

impl InterceptCommand {
    /// What to do it with.
    pub(crate) fn interception(&self) -> Result<Interception, String> {
        let none = "--intercept: expected one of nftables, iptables";
        self.flags.interception(self.port)?.ok_or_else(|| none.into())
    }
}
