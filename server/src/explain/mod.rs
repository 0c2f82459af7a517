//! Why a pod gets credentials, or not: what lies between the two, step by step, from what the directory, the vault and
//! the fleet know at this moment. Plain functions from facts to steps; [`crate::grpc::view`] gathers the facts.
//!
//! What must always hold: a step is bad exactly when it alone keeps the pod from its credentials. Nothing here asks STS
//! or the Kubernetes API, and nothing shows more than an event on the pod might.

#[cfg(test)]
mod tests;
mod words;

use jiff::Timestamp;
use kiam_common::report::Step;

use crate::directory::sighting::{Known, Shared, Sighting};
use crate::policy::Decision;
use crate::role::{AnnotatedRole, PodRole, ROLE};
use crate::vault::Standing;

/// What is looked at, in the order in which one depends on another.
pub const CHECKS: [&str; 10] =
    [POD, PHASE, ADDRESS, ANNOTATION, ROLE_CHECK, NAMESPACE, CREDENTIALS, NODE, SEQUENCE, INTERCEPTION];

/// The check of an agent's stream: where it is good, the server supplies the pod's node.
pub const NODE: &str = "node";

const POD: &str = "pod";
const PHASE: &str = "phase";
const ADDRESS: &str = "address";
const ANNOTATION: &str = "annotation";
const ROLE_CHECK: &str = "role";
const NAMESPACE: &str = "namespace";
const CREDENTIALS: &str = "credentials";
const SEQUENCE: &str = "sequence";
const INTERCEPTION: &str = "interception";

/// What an agent that is supplied last said of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Supplied {
    /// The agent's version.
    pub version: String,
    /// When it was last heard of.
    pub heard_at: Timestamp,
    /// The number of the last message that was sent to it.
    pub sent: u64,
    /// What it said, if it said anything yet.
    pub said: Option<Said>,
}

/// How an agent does, by its own word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said {
    /// The number of the last message that is in effect.
    pub applied: u64,
    /// Whether the rules that it keeps are whole; none if it keeps no rules.
    pub rules_are_whole: Option<bool>,
}

/// All that is known of a pod.
#[derive(Debug)]
pub struct Facts {
    /// What the directory has.
    pub sighting: Sighting,
    /// What the vault has of its role.
    pub standing: Option<Standing>,
    /// What the agent of its node said, if this server supplies it.
    pub agent: Option<Supplied>,
    /// When.
    pub now: Timestamp,
}

/// Looks at each link of the chain: every check once, in the order of [`CHECKS`].
pub fn steps(facts: &Facts) -> Vec<Step> {
    match &facts.sighting {
        Sighting::Unknown => only(vec![Step::bad(POD, words::UNKNOWN, words::LOOK_FOR_POD)]),
        Sighting::Apart(apart) => {
            let (found, advice) = words::apart(*apart);
            only(vec![Step::good(POD, "it is known"), Step::bad(PHASE, found, advice)])
        }
        Sighting::Shared(shared) => {
            only(vec![Step::good(POD, "it is known"), Step::skipped(PHASE, words::NOT_LOOKED_AT), ambiguous(shared)])
        }
        Sighting::Known(known) => of_known(known, facts),
    }
}

/// These, and the rest of the chain, which is not looked at.
fn only(mut steps: Vec<Step>) -> Vec<Step> {
    let done = steps.len();
    steps.extend(CHECKS.iter().skip(done).map(|check| Step::skipped(check, words::NOT_LOOKED_AT)));
    steps
}

fn of_known(known: &Known, facts: &Facts) -> Vec<Step> {
    let pod = &known.pod;
    let role = pod.role.annotated().ok();
    let permitted = role.is_some_and(|role| permits(known, role));
    let [node, sequence, interception] = of_agent(pod.node.as_deref(), facts);
    vec![
        Step::good(POD, format!("{}/{} is known, uid {}", pod.namespace, pod.name, pod.uid)),
        phase(pod.node.as_deref()),
        address(known),
        annotation(&pod.role),
        resolved(&pod.role),
        role.map_or_else(|| not_looked_at(NAMESPACE), |role| namespace(known, role)),
        if permitted { credentials(facts.standing.as_ref(), facts.now) } else { not_looked_at(CREDENTIALS) },
        node,
        sequence,
        interception,
    ]
}

fn not_looked_at(check: &str) -> Step {
    Step::skipped(check, words::NOT_LOOKED_AT)
}

fn phase(node: Option<&str>) -> Step {
    match node {
        Some(node) => Step::good(PHASE, format!("it is not finished, has a network of its own, and is on {node}")),
        None => Step::bad(PHASE, "it is on no node yet", words::SCHEDULE),
    }
}

fn address(known: &Known) -> Step {
    match (&known.shared, known.pod.ips()) {
        (Some(shared), _) => ambiguous(shared),
        (None, []) => Step::bad(ADDRESS, "it has no address yet", words::AWAIT_ADDRESS),
        (None, ips) => {
            let ips: Vec<String> = ips.iter().map(ToString::to_string).collect();
            Step::good(ADDRESS, format!("{}: no other live pod has it", ips.join(", ")))
        }
    }
}

fn ambiguous(shared: &Shared) -> Step {
    let pods = shared.pods.join(", ");
    Step::bad(ADDRESS, format!("more than one live pod has {}: {pods}", shared.ip), words::FREE_ADDRESS)
}

fn annotation(role: &PodRole) -> Step {
    match role {
        PodRole::Absent => Step::bad(ANNOTATION, format!("it has no {ROLE} annotation"), words::ANNOTATE),
        PodRole::Invalid(_) => Step::good(ANNOTATION, "it asks for a role"),
        PodRole::Annotated(role) => Step::good(ANNOTATION, format!("{ROLE} {:?}", &*role.text)),
    }
}

fn resolved(role: &PodRole) -> Step {
    match role {
        PodRole::Absent => not_looked_at(ROLE_CHECK),
        PodRole::Invalid(error) => Step::bad(ROLE_CHECK, error.to_string(), words::CORRECT_ANNOTATION),
        PodRole::Annotated(role) => {
            let identity = &role.identity;
            let external_id = if identity.external_id.is_some() { ", with an external id" } else { "" };
            Step::good(ROLE_CHECK, format!("{}, session {}{external_id}", identity.arn, identity.session_name))
        }
    }
}

fn permits(known: &Known, role: &AnnotatedRole) -> bool {
    known.rule.as_ref().is_some_and(|rule| rule.decide(role.arn()) == Decision::Allowed)
}

fn namespace(known: &Known, asked: &AnnotatedRole) -> Step {
    let Some(rule) = &known.rule else {
        return Step::bad(NAMESPACE, "the namespace is not known yet", words::AWAIT_NAMESPACE);
    };
    match rule.decide(asked.arn()) {
        Decision::Allowed => Step::good(NAMESPACE, format!("{rule} permits it")),
        Decision::Denied(denial) => Step::bad(NAMESPACE, denial.to_string(), words::PERMIT),
    }
}

fn credentials(standing: Option<&Standing>, now: Timestamp) -> Step {
    let Some(standing) = standing else {
        return Step::doubtful(CREDENTIALS, "nobody has asked for them yet", words::ASK);
    };
    match (standing.ends, &standing.failure) {
        (Some(ends), None) => Step::good(CREDENTIALS, format!("valid for {}", words::life(ends, now))),
        (Some(ends), Some(failure)) => Step::doubtful(
            CREDENTIALS,
            format!("valid for {}; their renewal failed: {}", words::life(ends, now), words::told(failure)),
            words::remedy(failure.kind),
        ),
        (None, Some(failure)) => Step::bad(CREDENTIALS, words::told(failure), words::remedy(failure.kind)),
        (None, None) if standing.called => Step::doubtful(CREDENTIALS, "STS is being asked", words::ASK),
        (None, None) => Step::doubtful(CREDENTIALS, "they have ended", words::ASK),
    }
}

/// Node, sequence and interception.
fn of_agent(node: Option<&str>, facts: &Facts) -> [Step; 3] {
    let (Some(node), Some(agent)) = (node, &facts.agent) else {
        let missing = match node {
            Some(node) => Step::doubtful(NODE, format!("the agent of {node} has no stream here"), words::FIND_AGENT),
            None => not_looked_at(NODE),
        };
        return [missing, not_looked_at(SEQUENCE), not_looked_at(INTERCEPTION)];
    };
    let since = words::life(facts.now, agent.heard_at);
    let connected =
        format!("the agent of {node}, version {}, was heard of {since} ago", words::clipped(&agent.version));
    [Step::good(NODE, connected), sequence(agent), interception(agent.said)]
}

fn sequence(agent: &Supplied) -> Step {
    let Supplied { sent, said, .. } = agent;
    match said {
        None => Step::doubtful(SEQUENCE, "the agent has said nothing yet", words::LOOK_AGAIN),
        Some(Said { applied, .. }) if applied >= sent => {
            Step::good(SEQUENCE, format!("all {sent} messages to the agent are in effect"))
        }
        Some(Said { applied, .. }) => {
            Step::doubtful(SEQUENCE, format!("{applied} of {sent} messages are in effect"), words::LOOK_AGAIN)
        }
    }
}

fn interception(said: Option<Said>) -> Step {
    match said.map(|said| said.rules_are_whole) {
        Some(Some(true)) => Step::good(INTERCEPTION, "the agent's rules are whole"),
        Some(Some(false)) => Step::bad(INTERCEPTION, "the agent's rules are not whole", words::REPAIR_RULES),
        Some(None) => Step::skipped(INTERCEPTION, "the agent keeps no rules: somebody else must"),
        None => not_looked_at(INTERCEPTION),
    }
}
