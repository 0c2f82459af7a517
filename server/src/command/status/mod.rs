//! `kiam-server status`: the nodes that the servers supply, as a table and what to look at, or as JSON. Servers with `--peers`
//! tell of each other, so one of them is enough, as through a forwarded port.

mod nodes;
mod table;
#[cfg(test)]
mod tests;
mod warnings;

use std::collections::BTreeSet;
use std::process::ExitCode;

use clap::{ArgAction, Args};
use jiff::Timestamp;
use kiam_common::clock::Clock;
use kiam_common::report::printable;
use kiam_proto::node::{ListNodesRequest, ListNodesResponse, Peer};
use serde::Serialize;

use super::ask::{Answer, AskArgs};
use nodes::Node;

/// The flags of `status`.
#[derive(Args, Clone, Debug)]
pub struct StatusArgs {
    /// Print one JSON object
    #[arg(long, num_args = 0..=1, default_value = "false", default_missing_value = "true", require_equals = true,
          action = ArgAction::Set)]
    json: bool,

    /// Whom to ask.
    #[command(flatten)]
    ask: AskArgs,
}

/// Prints the fleet: 0 if every server answered, 1 if not.
pub(super) async fn run(args: StatusArgs) -> ExitCode {
    let asked = args
        .ask
        .every_server(|mut server| async move { server.list_nodes(ListNodesRequest { whole_fleet: true }).await });
    match asked.await {
        Ok(answers) => {
            let now = Clock::system().now();
            Fleet::new(answers, now).print(args.json, now)
        }
        Err(error) => error.report(),
    }
}

/// All that the servers said.
#[derive(Debug, Serialize)]
struct Fleet {
    servers: Vec<Server>,
    nodes: Vec<Node>,
    warnings: Vec<String>,
}

/// A server.
#[derive(Debug, Serialize)]
struct Server {
    address: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    version: String,
    /// What it waits for before it is ready.
    waiting_for: Vec<String>,
    /// Why it did not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// What one server said, to this command or to another server.
struct Said {
    address: String,
    answer: Result<ListNodesResponse, String>,
}

impl Fleet {
    fn new(answers: Vec<Answer<ListNodesResponse>>, now: Timestamp) -> Self {
        let (mut servers, mut nodes) = (Vec::new(), Vec::new());
        for Said { address, answer } in each_once(answers) {
            match answer {
                Ok(ListNodesResponse { nodes: supplied, server_version: version, waiting_for, .. }) => {
                    nodes.extend(supplied.into_iter().map(|node| Node::new(node, &address, &version)));
                    servers.push(Server { address, version, waiting_for, error: None });
                }
                Err(error) => {
                    let (version, waiting_for) = (String::new(), Vec::new());
                    servers.push(Server { address, version, waiting_for, error: Some(error) });
                }
            }
        }
        nodes.sort_by(|one, other| one.name.cmp(&other.name));
        let warnings = warnings::of(&servers, &nodes, now);
        Self { servers, nodes, warnings }
    }

    fn to_text(&self, now: Timestamp) -> String {
        let warnings = self.warnings.iter().map(|warning| format!("! {}\n", printable(warning)));
        table::of(&self.nodes, now) + &warnings.collect::<String>()
    }

    fn print(&self, as_json: bool, now: Timestamp) -> ExitCode {
        if as_json {
            println!("{}", serde_json::to_string_pretty(self).unwrap_or_default());
        } else {
            print!("{}", self.to_text(now));
        }
        let answered = self.servers.iter().all(|server| server.error.is_none());
        if answered { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// Every server once, whether it was asked here or by another: by what it calls itself, and, where it does not say, by its
/// address.
fn each_once(answers: Vec<Answer<ListNodesResponse>>) -> impl Iterator<Item = Said> {
    let (mut asked, mut told) = (Vec::new(), Vec::new());
    for Answer { server, said } in answers {
        let answer = said.map(|mut said| {
            told.append(&mut said.peers);
            said
        });
        asked.push(Said { address: server.to_string(), answer });
    }
    let told = told.into_iter().map(|Peer { address, said, error }| Said { address, answer: said.ok_or(error) });
    let (mut instances, mut addresses) = (BTreeSet::new(), BTreeSet::new());
    asked.into_iter().chain(told).filter(move |said| {
        let is_new = match &said.answer {
            Ok(answer) => answer.instance.is_empty() || instances.insert(answer.instance.clone()),
            Err(_) => true,
        };
        addresses.insert(said.address.clone()) && is_new
    })
}
