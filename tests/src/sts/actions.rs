//! What each action asks of its parameters, and what it does.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kiam_common::role::RoleArn;

use super::accounts::{Accounts, Caller, Issued};
use super::query::Query;
use super::xml::{self, Refusal};

/// The longest session that a caller who is a role session itself may ask for.
const CHAINED_MAX: Duration = Duration::from_hours(1);

/// What faults make of a session that is given.
#[derive(Debug, Default)]
pub(super) struct Distortion {
    /// It lives for this long; none: for as long as was asked for.
    pub(super) life: Option<SignedDuration>,
    pub(super) clock_ahead: SignedDuration,
    pub(super) empty: bool,
}

pub(super) fn assume_role(
    accounts: &mut Accounts,
    query: &Query,
    distortion: &Distortion,
    now: Timestamp,
) -> Result<String, Refusal> {
    let caller = authenticate(accounts, query, now)?;
    let role_arn = required(query, "RoleArn", "roleArn")?;
    let session_name = required(query, "RoleSessionName", "roleSessionName")?;
    of_length(session_name, "roleSessionName", 2, 64)?;
    of_pattern(session_name, "roleSessionName", r"[\w+=,.@-]*", "_+=,.@-")?;
    let external_id = query.get("ExternalId");
    if let Some(external_id) = external_id {
        of_length(external_id, "externalId", 2, 1224)?;
        of_pattern(external_id, "externalId", r"[\w+=,.@:\/-]*", "_+=,.@:/-")?;
    }
    let asked = duration(query)?;
    if RoleArn::parse(role_arn).is_err() {
        return Err(Refusal::validation(format!("{role_arn} is invalid")));
    }
    let role = accounts.role(role_arn);
    let external_id_fits = role.external_id.is_none() || role.external_id.as_deref() == external_id;
    if !role.trusted || !external_id_fits {
        return Err(Refusal::access_denied(&caller.arn, role_arn));
    }
    if asked > role.max_session {
        let message = "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.";
        return Err(Refusal::validation(message));
    }
    if caller.session_ends.is_some() && asked > CHAINED_MAX {
        let message =
            "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.";
        return Err(Refusal::validation(message));
    }
    let asked = SignedDuration::try_from(asked).expect("a session is shorter than an age");
    let issued = accounts.issue(role_arn, session_name, now + distortion.life.unwrap_or(asked));
    if distortion.empty {
        let (access_key_id, secret_access_key, session_token) = Default::default();
        return Ok(xml::assume_role(&Issued { access_key_id, secret_access_key, session_token, ..issued.clone() }));
    }
    Ok(xml::assume_role(issued))
}

pub(super) fn get_caller_identity(accounts: &Accounts, query: &Query, now: Timestamp) -> Result<String, Refusal> {
    let caller = authenticate(accounts, query, now)?;
    Ok(xml::get_caller_identity(&caller.arn, &caller.user_id, &caller.account))
}

fn authenticate(accounts: &Accounts, query: &Query, now: Timestamp) -> Result<Caller, Refusal> {
    if query.caller_access_key.is_empty() {
        return Err(Refusal::unsigned());
    }
    let caller = accounts.caller(&query.caller_access_key).ok_or_else(Refusal::unknown_caller)?;
    if caller.session_ends.is_some_and(|end| end <= now) {
        return Err(Refusal::expired_token());
    }
    Ok(caller)
}

fn duration(query: &Query) -> Result<Duration, Refusal> {
    let Some(text) = query.get("DurationSeconds") else { return Ok(Duration::from_hours(1)) };
    let seconds: u64 = text.parse().map_err(|_| Refusal::validation(format!("{text} is not an integer")))?;
    let constraint = |rule: &str| broken("durationSeconds", text, rule);
    match seconds {
        0..900 => Err(constraint("Member must have value greater than or equal to 900")),
        900..=43_200 => Ok(Duration::from_secs(seconds)),
        _ => Err(constraint("Member must have value less than or equal to 43200")),
    }
}

fn required<'a>(query: &'a Query, name: &str, member: &str) -> Result<&'a str, Refusal> {
    query.get(name).ok_or_else(|| {
        Refusal::validation(format!(
            "1 validation error detected: Value null at '{member}' failed to satisfy constraint: Member must not be null"
        ))
    })
}

fn of_length(text: &str, member: &str, least: usize, most: usize) -> Result<(), Refusal> {
    if text.len() < least {
        return Err(broken(member, text, &format!("Member must have length greater than or equal to {least}")));
    }
    if text.len() > most {
        return Err(broken(member, text, &format!("Member must have length less than or equal to {most}")));
    }
    Ok(())
}

fn of_pattern(text: &str, member: &str, pattern: &str, punctuation: &str) -> Result<(), Refusal> {
    if text.chars().all(|c| c.is_ascii_alphanumeric() || punctuation.contains(c)) {
        return Ok(());
    }
    Err(broken(member, text, &format!("Member must satisfy regular expression pattern: {pattern}")))
}

fn broken(member: &str, value: &str, rule: &str) -> Refusal {
    Refusal::validation(format!(
        "1 validation error detected: Value '{value}' at '{member}' failed to satisfy constraint: {rule}"
    ))
}
