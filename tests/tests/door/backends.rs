//! The kinds of rules that every promise is kept with.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

/// The binary that is an agent when its first word is `agent`.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_kiam-sandbox");

/// All of them.
pub(crate) const ALL: [Backend; 3] = [Backend::Nftables, Backend::Iptables, Backend::IptablesLegacy];

/// A kind of rules, and the programs that write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    /// nftables, without a program.
    Nftables,
    /// iptables as it is on most nodes: its rules are nftables'.
    Iptables,
    /// iptables as it was.
    IptablesLegacy,
}

impl Backend {
    /// What the agent is told.
    pub(crate) fn flags(self, interfaces: &str) -> String {
        let method = match self {
            Self::Nftables => "nftables",
            Self::Iptables | Self::IptablesLegacy => "iptables",
        };
        format!("--intercept={method} --host={} --host-interface={interfaces}", kiam_tests::netns::HOSTS)
    }

    /// Runs `kiam-agent intercept` with this action, and returns its exit code and what it said.
    pub(crate) fn command(self, action: &str, interfaces: &str) -> (Option<i32>, String) {
        let flags = self.flags(interfaces);
        let mut command = Command::new(BINARY);
        run(command.args(["agent", "intercept", action]).args(flags.split(' ')).env("PATH", self.path()))
    }

    /// Ways to break the rules by hand, as commands.
    pub(crate) fn vandalism(self) -> Vec<String> {
        match self {
            Self::Nftables => [
                "nft flush ruleset",
                "nft delete table inet kiam",
                "nft flush chain inet kiam catch",
                "nft insert rule inet kiam close accept",
                "nft add table inet kiam '{ flags dormant; }'",
                "nft delete rule inet kiam catch handle \
                 $(nft -a list chain inet kiam catch | sed -n 's/.*254.*handle //p' | head -n 1)",
            ]
            .map(str::to_owned)
            .to_vec(),
            Self::Iptables | Self::IptablesLegacy => ["iptables", "ip6tables"]
                .into_iter()
                .flat_map(|program| {
                    let program = if self == Self::Iptables { program.to_owned() } else { format!("{program}-legacy") };
                    [
                        "-t nat -F KIAM-CATCH",
                        "-t nat -D KIAM-CATCH 1",
                        "-t nat -D PREROUTING -j KIAM-CATCH",
                        "-t mangle -F",
                        "-t mangle -I KIAM-CLOSE -j ACCEPT",
                    ]
                    .map(|arguments| format!("{program} -w {arguments}"))
                })
                .collect(),
        }
    }

    /// The agent's `PATH`: for nftables there is nothing on it.
    pub(crate) fn path(self) -> String {
        let path = std::env::var("PATH").unwrap();
        match self {
            Self::Nftables => "/nowhere".into(),
            Self::Iptables => path,
            Self::IptablesLegacy => format!("{}:{path}", legacy_programs()),
        }
    }
}

/// Runs a program to its end, and returns its exit code and what it said.
pub(crate) fn run(command: &mut Command) -> (Option<i32>, String) {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // The product's programs end when the tests do: when this is closed.
    let _leash = child.stdin.take();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).trim().to_owned())
}

/// A directory in which iptables is the older kind.
fn legacy_programs() -> &'static str {
    let directory = "/run/legacy";
    if !Path::new(directory).exists() {
        fs::create_dir(directory).unwrap();
        for family in ["iptables", "ip6tables"] {
            for program in ["save", "restore"] {
                let legacy = kiam_tests::netns::sh(&format!("command -v {family}-legacy-{program}"));
                symlink(legacy.trim(), format!("{directory}/{family}-{program}")).unwrap();
            }
        }
    }
    directory
}
