//! What explanations say that is not in the facts: what to do about each.

use std::time::Duration;

use jiff::Timestamp;

use crate::directory::bystanders::Apart;
use crate::sts::{StsError, StsErrorKind};

/// The longest text of others that is told, in characters.
const LONGEST: usize = 300;

pub(super) const NOT_LOOKED_AT: &str = "not looked at";
pub(super) const UNKNOWN: &str = "the server knows of no such live pod";
pub(super) const LOOK_FOR_POD: &str =
    "is the name right, and does it run in the cluster that this server watches? kubectl get pod -o wide";
pub(super) const SCHEDULE: &str = "wait for the scheduler; kubectl describe pod says what it waits for";
pub(super) const AWAIT_ADDRESS: &str = "wait for the kubelet and the network plugin; kubectl describe pod";
pub(super) const FREE_ADDRESS: &str = "one of them must go: the network plugin has given an address twice";
pub(super) const ANNOTATE: &str = "annotate the pod, in the template of what made it: iam.amazonaws.com/role: <role>";
pub(super) const CORRECT_ANNOTATION: &str = "correct the annotation, in the template of what made the pod";
pub(super) const AWAIT_NAMESPACE: &str = "wait a moment; if it stays so, look at kiam_k8s_watch_errors_total";
pub(super) const PERMIT: &str = "let the namespace's annotation permit the role, or ask for another role";
pub(super) const ASK: &str = "they are fetched when the pod asks, or sooner; ask again in a few seconds";
pub(super) const FIND_AGENT: &str = "it may have one to another server, or ask for each request: kiam-server status asks \
                                     all; kiam-agent doctor on the node says why if not";
pub(super) const LOOK_AGAIN: &str = "ask again in a few seconds; if it stays so, look at the agent's log";
pub(super) const REPAIR_RULES: &str =
    "pods' requests may reach nobody: the agent's log says why, and kiam-agent doctor";

/// Why a pod has no identity of its own, and what to do.
pub(super) const fn apart(apart: Apart) -> (&'static str, &'static str) {
    match apart {
        Apart::Finished => {
            ("it is finished (Succeeded or Failed)", "start it anew: another pod may have its address by now")
        }
        Apart::HostNetwork => (
            "it is on the host's network, and so has the node's address",
            "give it a network of its own; the node's processes cannot be told apart",
        ),
    }
}

/// What may help when STS gives no credentials.
pub(super) const fn remedy(kind: StsErrorKind) -> &'static str {
    match kind {
        StsErrorKind::Refused => {
            "the role must exist, and its trust policy must name the server's own role, and the external id if it asks \
             for one"
        }
        StsErrorKind::TooLong => "--session-duration is more than the role's maximum session duration",
        StsErrorKind::Throttled => "STS takes no more calls from this account: lower --sts-rate, or look for who calls",
        StsErrorKind::Unavailable => {
            "is there a way from the server to STS? look at --region, proxies, network policies"
        }
        StsErrorKind::OwnCredentials => "the server needs AWS credentials of its own that may assume the pods' roles",
    }
}

/// What STS said.
pub(super) fn told(error: &StsError) -> String {
    clipped(&error.to_string())
}

/// Enough of what others said.
pub(super) fn clipped(text: &str) -> String {
    text.chars().take(LONGEST).collect()
}

/// How long it is until an instant.
pub(super) fn life(until: Timestamp, now: Timestamp) -> String {
    let life = Duration::try_from(until.duration_since(now)).unwrap_or_default();
    kiam_common::report::duration(life)
}
