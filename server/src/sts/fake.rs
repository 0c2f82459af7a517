//! An STS that answers as a test says and records what it was asked.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::SignedDuration;
use kiam_common::clock::Clock;
use kiam_common::credentials::Credentials;
use kiam_common::role::RoleIdentity;
use kiam_common::secret::Secret;

use super::{Session, Sts, StsError, StsErrorKind};

/// Grants every role, unless told otherwise, after a delay that it is given.
pub struct FakeSts {
    clock: Clock,
    script: Mutex<Script>,
}

struct Script {
    delay: Duration,
    life: Duration,
    /// How far its clock is ahead.
    ahead: SignedDuration,
    failures: HashMap<String, StsError>,
    /// Befalls every role.
    outage: Option<StsErrorKind>,
    longest: Option<Duration>,
    calls: Vec<RoleIdentity>,
    durations: Vec<Duration>,
}

impl FakeSts {
    /// Answers at once with sessions of one hour by `clock`.
    pub fn new(clock: Clock) -> Self {
        let script = Script {
            delay: Duration::ZERO,
            life: Duration::from_hours(1),
            ahead: SignedDuration::ZERO,
            failures: HashMap::new(),
            outage: None,
            longest: None,
            calls: Vec::new(),
            durations: Vec::new(),
        };
        Self { clock, script: Mutex::new(script) }
    }

    /// How long each answer takes from now on.
    pub fn answer_after(&self, delay: Duration) {
        self.script().delay = delay;
    }

    /// How long sessions live from now on.
    pub fn grant(&self, life: Duration) {
        self.script().life = life;
    }

    /// Refuses a role from now on with an error code of STS.
    pub fn refuse(&self, arn: &str, code: &str) {
        let error = StsError { kind: StsErrorKind::Refused, code: Some(code.into()), message: "not you".into() };
        self.script().failures.insert(arn.into(), error);
    }

    /// Fails for a role from now on, as if STS were away.
    pub fn fail(&self, arn: &str) {
        self.script().failures.insert(arn.into(), StsError::unavailable("connection refused"));
    }

    /// Grants a role again.
    pub fn recover(&self, arn: &str) {
        self.script().failures.remove(arn);
    }

    /// Fails for every role in one way, or no longer.
    pub fn fail_all(&self, kind: Option<StsErrorKind>) {
        self.script().outage = kind;
    }

    /// Gives no sessions longer than this from now on.
    pub fn give_at_most(&self, longest: Duration) {
        self.script().longest = Some(longest);
    }

    /// Its clock is ahead of everybody else's from now on.
    pub fn set_clock_ahead(&self, by: SignedDuration) {
        self.script().ahead = by;
    }

    /// How long a session each call asked for, in order.
    pub fn durations(&self) -> Vec<Duration> {
        self.script().durations.clone()
    }

    /// What was asked for, in order.
    pub fn calls(&self) -> Vec<RoleIdentity> {
        self.script().calls.clone()
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Sts for FakeSts {
    async fn assume_role(&self, identity: &RoleIdentity, duration: Duration) -> Result<Session, StsError> {
        let (delay, number) = {
            let mut script = self.script();
            script.calls.push(identity.clone());
            script.durations.push(duration);
            (script.delay, script.calls.len())
        };
        tokio::time::sleep(delay).await;
        let script = self.script();
        script.failure(identity, duration).map_or(Ok(()), Err)?;
        let issued_at = self.clock.now() + script.ahead;
        let credentials = Credentials {
            access_key_id: format!("ASIA{number}"),
            secret_access_key: Secret::new(format!("secret-access-key-{number}")),
            session_token: Secret::new(format!("session-token-{number}")),
            expiration: issued_at + script.life,
            last_updated: issued_at,
        };
        Ok(Session { credentials, life: script.life })
    }
}

impl Script {
    fn failure(&self, identity: &RoleIdentity, duration: Duration) -> Option<StsError> {
        let fails = |kind, code: &str| StsError { kind, code: Some(code.into()), message: "as the test says".into() };
        if let Some(kind) = self.outage {
            return Some(fails(kind, "Outage"));
        }
        if self.longest.is_some_and(|longest| duration > longest) {
            return Some(fails(StsErrorKind::TooLong, "ValidationError"));
        }
        self.failures.get(identity.arn.as_str()).cloned()
    }
}
