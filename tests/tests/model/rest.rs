//! What must be so in the end.
//!
//! When nothing happens any more, everybody has been told everything and every agent has a stream: every pod that may
//! have its role is answered with it, and with no other; every other is refused, for the right reason. Where the ledger
//! sends a pod on, it is the answer of the stream's server that counts.

use std::net::IpAddr;

use kiam_agent::testing::Answer;
use kiam_common::reason::Reason;
use kiam_server::issue::Issuer;

use crate::agent::{Agent, addresses};
use crate::calls;
use crate::cluster::Word;
use crate::history::ROLES;
use crate::run::World;

/// What a pod has got.
#[derive(Debug, PartialEq, Eq)]
enum Got {
    Role(usize),
    Refused(Reason),
    /// Nothing from the ledger, that should know.
    Nothing(Answer),
}

/// Asks for every role at every address of every node.
pub(crate) async fn check(world: &World) -> Result<(), String> {
    let issuers: Vec<Issuer> = world.servers.iter().map(calls::issuer).collect();
    for (node, agent) in world.agents.iter().enumerate() {
        let issuer = &issuers[agent.followed_server().ok_or("no stream")?];
        for ip in addresses() {
            let Some(pod) = world.cluster.at(node, ip) else { continue };
            let truth = world.cluster.objects.word(node, ip);
            let named = agent.role_name(ip);
            if !is_named(truth.as_ref(), &named) {
                let uid = &pod.uid;
                return Err(format!("node-{node}: {uid} at {ip} gets {named:?} as the name; in truth {truth:?}"));
            }
            for (role, name) in ROLES.iter().enumerate() {
                let (got, wanted) =
                    (world.ask(agent, issuer, ip, name).await, world.wanted(&pod.uid, ip, truth.as_ref(), role));
                // What STS refuses now it may have given before.
                let is_older = wanted == Got::Refused(Reason::StsRefused) && got == Got::Role(role);
                if got != wanted && !is_older {
                    let uid = &pod.uid;
                    return Err(format!("node-{node}: {uid} at {ip} asks for {name}: {got:?} instead of {wanted:?}"));
                }
            }
        }
    }
    Ok(())
}

/// Whether that is what the ledger should say to a pod that asks for the name of its role.
fn is_named(truth: Option<&Word>, named: &Answer) -> bool {
    match (truth.map(|word| &word.outcome), named) {
        (Some(Ok(role)), Answer::Held(name)) => *name == ROLES[*role].as_bytes(),
        // The server puts an event on the pod.
        (None | Some(Err(Reason::Forbidden | Reason::InvalidAnnotation)), Answer::AskServer) => true,
        (Some(Err(reason)), Answer::Refused(refused)) => refused == reason,
        _ => false,
    }
}

impl World {
    async fn ask(&self, agent: &Agent, issuer: &Issuer, ip: IpAddr, role: &str) -> Got {
        let (given, by_ledger) = match agent.credentials(ip, role) {
            Answer::Held(document) => (self.sts.given_in(&document), true),
            Answer::Refused(reason) => return Got::Refused(reason),
            Answer::AskServer => match calls::credentials(issuer, agent.node, ip, role).await {
                Ok(key) => (self.sts.given(&key), false),
                Err(reason) => return Got::Refused(reason),
            },
            other => return Got::Nothing(other),
        };
        let role = given.expect("credentials that STS gave").role;
        // Of a role that STS has refused, the server asks again when a pod does.
        if by_ledger || self.sts.script().refused[role] { Got::Role(role) } else { Got::Nothing(Answer::AskServer) }
    }

    /// What a pod of which this is true should get.
    fn wanted(&self, uid: &str, ip: IpAddr, truth: Option<&Word>, asked: usize) -> Got {
        match truth.map(|word| word.outcome) {
            Some(Ok(role)) if role != asked => Got::Refused(Reason::Forbidden),
            Some(Ok(role)) if self.sts.refuses(role) => Got::Refused(Reason::StsRefused),
            Some(Ok(role)) => Got::Role(role),
            Some(Err(reason)) => Got::Refused(reason),
            None => Got::Refused(self.why_unknown(uid, ip)),
        }
    }

    /// Why nothing can be said of a pod at an address of its node.
    fn why_unknown(&self, uid: &str, ip: IpAddr) -> Reason {
        let objects = &self.cluster.objects;
        match objects.live(ip).count() {
            // Its namespace is gone.
            _ if objects.pods.values().any(|pod| pod.uid == uid) => Reason::ServerNotReady,
            // It was deleted by force, and runs on.
            0 => Reason::PodNotFound,
            1 => Reason::WrongNode,
            _ => Reason::PodAmbiguous,
        }
    }
}
