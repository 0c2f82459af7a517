//! What is on the node: files, rules, the instance metadata service, limits.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use jiff::Timestamp;
use kiam_common::report::{Step, duration};
use kiam_common::tls::{Identity, Side, TlsError};
use tokio::time::timeout;

use super::NOT_LOOKED_AT;
use crate::descriptors;
use crate::intercept::{Found, Interception, command};
use crate::metadata::{Endpoint, MetadataService};
use crate::sync::token::{TokenError, TokenFile};

/// A certificate that ends sooner is doubtful.
const ENDS_SOON: Duration = Duration::from_hours(7 * 24);
/// The longest answer of others that is shown, in characters.
const LONGEST: usize = 64;

/// Whether the files make an identity that has not ended.
pub(super) fn certificate(identity: Result<&Identity, &TlsError>, now: Timestamp) -> Step {
    const CHECK: &str = "certificate";
    let identity = match identity {
        Ok(identity) => identity,
        Err(error) => return Step::bad(CHECK, error.to_string(), "give --cert, --key and --ca files that are sound"),
    };
    let ends = Timestamp::from_second(identity.not_after()).unwrap_or_default();
    match left(ends, now) {
        None => Step::bad(CHECK, format!("it, or the authority above it, ended {ends}"), "renew it"),
        Some(left) if left < ENDS_SOON => Step::doubtful(CHECK, format!("it ends in {}", duration(left)), "renew it"),
        Some(left) => Step::good(CHECK, format!("it is good for {}", duration(left))),
    }
}

/// Whether who trusts the same authorities takes the certificate.
pub(super) fn chain(identity: Option<&Identity>, now: Timestamp) -> Step {
    const CHECK: &str = "chain";
    match identity.map(|identity| identity.verify(Side::Client, now)) {
        None => Step::skipped(CHECK, NOT_LOOKED_AT),
        Some(Ok(())) => Step::good(CHECK, "the certificate verifies by --ca"),
        Some(Err(why)) => {
            let advice = "the certificate must be of an authority in --ca, and good for clients";
            Step::bad(CHECK, format!("the certificate does not verify by --ca: {why}"), advice)
        }
    }
}

/// Whether the token is one for these servers that has not ended, by its own word.
pub(super) fn token(token: Option<&Result<Arc<TokenFile>, TokenError>>, audience: &str, now: Timestamp) -> Step {
    const CHECK: &str = "token";
    let claims = match token {
        None => return Step::skipped(CHECK, "no --server-token-file: servers must not bind agents by tokens"),
        Some(Err(error)) => return Step::bad(CHECK, error.to_string(), "mount a projected service account token"),
        Some(Ok(token)) => token.claims(),
    };
    let Some(claims) = claims else {
        return Step::bad(CHECK, "the file holds no JSON Web Token", "mount a projected service account token");
    };
    if !claims.audiences.iter().any(|given| given == audience) {
        let advice = "the volume's audience and the servers' --token-audience must be the same";
        return Step::bad(CHECK, format!("it is for {:?}, and not for {audience:?}", claims.audiences), advice);
    }
    match claims.ends.map(|ends| left(ends, now)) {
        None => Step::good(CHECK, format!("it is for {audience:?}, and does not end")),
        Some(Some(left)) => Step::good(CHECK, format!("it is for {audience:?}, for {} more", duration(left))),
        Some(None) => {
            Step::bad(CHECK, "it has ended", "is this the volume's own file? the kubelet replaces it in time")
        }
    }
}

/// Whether the rules are there that the agent keeps.
pub(super) async fn interception(interception: Option<&Interception>, within: Duration) -> Step {
    const CHECK: &str = "interception";
    let Some(interception) = interception else {
        return Step::skipped(CHECK, "the agent keeps no rules (--intercept=none): somebody else must");
    };
    match timeout(within, interception.found()).await {
        Ok(Ok(found)) => of_rules(CHECK, &found),
        Ok(Err(error)) => Step::doubtful(CHECK, format!("cannot look: {error}"), "look with the agent's own rights"),
        Err(_) => Step::doubtful(CHECK, format!("no answer within {within:?}"), "does another program hold the lock?"),
    }
}

pub(super) fn of_rules(check: &str, found: &Found) -> Step {
    match found {
        Found::Whole { .. } => Step::good(check, command::told(found)),
        Found::Nothing | Found::Different(_) => {
            Step::bad(check, command::told(found), "a running agent repairs them; its log says why it cannot")
        }
    }
}

/// Whether the instance metadata service answers.
pub(super) async fn metadata(endpoint: &Endpoint) -> Step {
    const CHECK: &str = "metadata";
    let advice = "health checks and metadata paths fail; is the service on, and --metadata-endpoint right?";
    match MetadataService::new(endpoint.clone()).get("/latest/meta-data/instance-id", None).await {
        Ok(answer) if answer.status() == StatusCode::OK => {
            let id: String = String::from_utf8_lossy(answer.body()).chars().take(LONGEST).collect();
            Step::good(CHECK, format!("{endpoint} answers: this is {id}"))
        }
        Ok(answer) => Step::bad(CHECK, format!("{endpoint} answers {}", answer.status()), advice),
        Err(error) => Step::bad(CHECK, format!("{endpoint}: {error}"), advice),
    }
}

/// Whether there are as many file descriptors as connections.
pub(super) fn descriptors(connections: usize) -> Step {
    const CHECK: &str = "descriptors";
    match descriptors::room_for(connections) {
        room if room < connections => {
            let found = format!("there is room for {room} of {connections} connections");
            Step::doubtful(CHECK, found, "raise the limit of open files, or lower --max-connections")
        }
        _ => Step::good(CHECK, format!("there is room for {connections} connections")),
    }
}

/// How long it is until an instant that has not passed.
fn left(ends: Timestamp, now: Timestamp) -> Option<Duration> {
    Duration::try_from(ends.duration_since(now)).ok().filter(|left| !left.is_zero())
}
