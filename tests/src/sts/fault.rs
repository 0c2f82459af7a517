//! What can go wrong at STS, for one role or for all.

use std::time::Duration;

use jiff::SignedDuration;

use super::xml::Refusal;

/// What befalls an AssumeRole call. Several may befall one call: delays add up, the first that answers decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The answer is late by this much.
    Delay(Duration),
    /// There is never an answer.
    Hang,
    /// An error is answered.
    Refuse(Refusal),
    /// The answer is 200 and breaks off in the middle of its XML.
    MalformedXml,
    /// The connection is reset without an answer.
    Reset,
    /// The headers come at once, and then one byte of the body after each such pause.
    Drip(Duration),
    /// The credentials live for this long, whatever was asked for.
    SessionLife(Duration),
    /// The credentials ended this long before they were issued.
    EndedBefore(Duration),
    /// The clock is ahead of everybody else's by this much.
    ClockAhead(SignedDuration),
    /// The credentials are there and empty.
    EmptyCredentials,
}

/// Which calls a fault befalls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All of them.
    Everyone,
    /// Those for one role's ARN.
    Role(String),
}

#[derive(Debug, Default)]
pub(super) struct Faults(Vec<Scripted>);

#[derive(Debug)]
struct Scripted {
    scope: Scope,
    fault: Fault,
    /// How many calls it still befalls; none: all.
    left: Option<usize>,
}

impl Faults {
    pub(super) fn add(&mut self, scope: Scope, fault: Fault, times: Option<usize>) {
        self.0.push(Scripted { scope, fault, left: times });
    }

    /// The faults for a call, which uses one of the times of each.
    pub(super) fn due(&mut self, role_arn: &str) -> Vec<Fault> {
        let mut due = Vec::new();
        for scripted in &mut self.0 {
            let in_scope = match &scripted.scope {
                Scope::Everyone => true,
                Scope::Role(arn) => arn == role_arn,
            };
            if in_scope && scripted.left != Some(0) {
                scripted.left = scripted.left.map(|left| left - 1);
                due.push(scripted.fault.clone());
            }
        }
        due
    }
}
