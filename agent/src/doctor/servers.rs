//! What the servers say: each is asked which nodes it supplies, as this agent.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use jiff::Timestamp;
use kiam_common::args::{HostPort, ServerAddressArgs};
use kiam_common::channel::{connect_lazily, why};
use kiam_common::clock::{Clock, parse_http_date};
use kiam_common::report::{Step, duration};
use kiam_common::tls::Identity;
use kiam_proto::node::fleet_client::FleetClient;
use kiam_proto::node::{ListNodesRequest, ListNodesResponse};
use tokio::time::timeout;
use tonic::{Code, Response, Status};

use super::NOT_LOOKED_AT;
use crate::sync::token::{Bearing, TokenFile};

const CLOCK: &str = "clock";
const SERVER: &str = "server";
const SUPPLY: &str = "supply";

/// Clocks as far apart as this are the same: a date has whole seconds, and takes time to arrive.
const SAME: Duration = Duration::from_secs(3);
/// With clocks further apart than this AWS refuses what is signed.
const TOO_FAR: Duration = Duration::from_mins(5);

/// What came of asking one server.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) server: SocketAddr,
    pub(super) said: Result<Said, Unsaid>,
}

/// What a server said.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) fleet: ListNodesResponse,
    /// The time by its clock and by this machine's.
    pub(super) times: Option<(Timestamp, Timestamp)>,
}

/// Why a server said nothing.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unsaid {
    /// It has no fleet view.
    Older,
    /// It does not take this agent for one of a node.
    Refused(String),
    /// It cannot be reached.
    Unreachable(String),
}

/// Asks every address at once.
pub(super) async fn ask(
    servers: &ServerAddressArgs,
    identity: &Arc<Identity>,
    token: Option<&Arc<TokenFile>>,
    within: Duration,
    clock: &Clock,
) -> io::Result<Vec<Answer>> {
    let ServerAddressArgs { server_address, gateway_timeout_creation, keepalive, .. } = servers;
    let addresses = server_address.resolve().await?;
    let asked = addresses.into_iter().map(|server| {
        let channel = connect_lazily(server, &server_address.host, identity, keepalive, *gateway_timeout_creation);
        let mut client = FleetClient::new(Bearing::new(channel, token.cloned()));
        async move {
            let said = match timeout(within, client.list_nodes(ListNodesRequest::default())).await {
                Ok(Ok(response)) => Ok(said(response, clock)),
                Ok(Err(status)) => Err(unsaid(&status)),
                Err(_) => Err(Unsaid::Unreachable(format!("no answer within {within:?}"))),
            };
            Answer { server, said }
        }
    });
    Ok(join_all(asked).await)
}

fn said(response: Response<ListNodesResponse>, clock: &Clock) -> Said {
    let date = response.metadata().get("date").and_then(|date| parse_http_date(date.to_str().ok()?));
    Said { times: date.map(|date| (date, clock.now())), fleet: response.into_inner() }
}

fn unsaid(status: &Status) -> Unsaid {
    match status.code() {
        Code::Unimplemented => Unsaid::Older,
        Code::Unauthenticated | Code::PermissionDenied => Unsaid::Refused(why(status)),
        _ => Unsaid::Unreachable(why(status)),
    }
}

/// The servers have no address.
pub(super) fn unresolved(address: &HostPort, error: &io::Error) -> Vec<Step> {
    let advice = "is the name of --server-address right, and can this pod use the cluster's DNS? (dnsPolicy: \
                  ClusterFirstWithHostNet)";
    let [clock, supply] = [CLOCK, SUPPLY].map(|check| Step::skipped(check, NOT_LOOKED_AT));
    vec![clock, Step::bad(SERVER, format!("{address} has no address: {error}"), advice), supply]
}

/// Clock, each server, and who supplies the node, if a stream is for it.
pub(super) fn steps(answers: &[Answer], node: Option<&str>) -> Vec<Step> {
    let said = || answers.iter().filter_map(|answer| Some((answer.server, answer.said.as_ref().ok()?)));
    let any_is_good = answers.iter().any(is_good);
    let mut steps = vec![clock(said().find_map(|(_, said)| said.times))];
    steps.extend(answers.iter().map(|answer| server(answer, any_is_good)));
    steps.push(match node {
        None => Step::skipped(SUPPLY, "the agent asks for each request (--no-push)"),
        Some(_) if said().next().is_none() => Step::skipped(SUPPLY, NOT_LOOKED_AT),
        Some(node) => supply(node, said().map(|(server, said)| (server, &said.fleet))),
    });
    steps
}

/// Ready, or of Kiam's time, when nothing told.
fn is_good(answer: &Answer) -> bool {
    match &answer.said {
        Ok(said) => said.fleet.waiting_for.is_empty(),
        Err(unsaid) => *unsaid == Unsaid::Older,
    }
}

fn clock(times: Option<(Timestamp, Timestamp)>) -> Step {
    let Some((theirs, ours)) = times else { return Step::skipped(CLOCK, "no server told the time") };
    let apart = theirs.duration_since(ours);
    let which = if apart.is_negative() { "ahead of" } else { "behind" };
    let apart = apart.unsigned_abs();
    let found = format!("this machine's clock is {} {which} the server's", duration(apart));
    if apart <= SAME {
        Step::good(CLOCK, "it is the server's, by the Date of its answer")
    } else if apart <= TOO_FAR {
        Step::doubtful(CLOCK, found, "is the time synchronised on both machines?")
    } else {
        Step::bad(CLOCK, found, "synchronise the time: AWS refuses what is signed five minutes off")
    }
}

/// One that fails is bad only if no other is good.
fn server(answer: &Answer, any_is_good: bool) -> Step {
    let address = answer.server;
    let (found, advice) = match &answer.said {
        Ok(Said { fleet, .. }) if fleet.waiting_for.is_empty() => {
            return Step::good(SERVER, format!("{address} is ready, version {}", fleet.server_version));
        }
        Err(Unsaid::Older) => {
            return Step::doubtful(
                SERVER,
                format!("{address} answers, and is older"),
                "a server of Kiam? it serves, too",
            );
        }
        Ok(Said { fleet, .. }) => {
            let found = format!("{address} is not ready: it waits for {}", fleet.waiting_for.join(", "));
            (found, "does the server reach the Kubernetes API, and may it list pods and namespaces?")
        }
        Err(Unsaid::Refused(why)) => {
            (format!("{address} refuses this agent: {why}"), "see token above, and --node-binding of the server")
        }
        Err(Unsaid::Unreachable(why)) => (
            format!("{address}: {why}"),
            "is a server there, does a network policy forbid it, and is its certificate for the name in --server-address?",
        ),
    };
    if any_is_good { Step::doubtful(SERVER, found, advice) } else { Step::bad(SERVER, found, advice) }
}

fn supply<'a>(node: &str, fleets: impl Iterator<Item = (SocketAddr, &'a ListNodesResponse)>) -> Step {
    let mut streams = fleets.flat_map(|(server, fleet)| fleet.nodes.iter().map(move |node| (server, node)));
    let Some((server, found)) = streams.find(|(_, found)| found.name == node) else {
        let advice = "does the agent run, and is --node-name the node's name in Kubernetes? its log says more";
        return Step::doubtful(SUPPLY, format!("no server that answers supplies {node}"), advice);
    };
    let applied = found.status.map(|status| status.applied_sequence).unwrap_or_default();
    let told = format!("{server} supplies {node}: {applied} of {} messages are in effect", found.sent_sequence);
    Step::good(SUPPLY, told)
}
