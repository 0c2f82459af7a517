//! An STS that answers as a test says and records what it was asked.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use kiam_common::clock::Clock;
use kiam_common::credentials::Credentials;
use kiam_common::role::RoleIdentity;
use kiam_common::secret::Secret;

use super::{Sts, StsError, StsErrorKind};

/// Grants every role, unless told otherwise, after a delay that it is given.
pub struct FakeSts {
    clock: Clock,
    script: Mutex<Script>,
}

struct Script {
    delay: Duration,
    life: Duration,
    failures: HashMap<String, StsError>,
    calls: Vec<RoleIdentity>,
}

impl FakeSts {
    /// Answers at once with sessions of one hour by `clock`.
    pub fn new(clock: Clock) -> Self {
        let script = Script {
            delay: Duration::ZERO,
            life: Duration::from_hours(1),
            failures: HashMap::new(),
            calls: Vec::new(),
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
    async fn assume_role(&self, identity: &RoleIdentity) -> Result<Credentials, StsError> {
        let (delay, life, number) = {
            let mut script = self.script();
            script.calls.push(identity.clone());
            (script.delay, script.life, script.calls.len())
        };
        tokio::time::sleep(delay).await;
        if let Some(error) = self.script().failures.get(identity.arn.as_str()) {
            return Err(error.clone());
        }
        let now = self.clock.now();
        Ok(Credentials {
            access_key_id: format!("ASIA{number}"),
            secret_access_key: Secret::new(format!("secret-access-key-{number}")),
            session_token: Secret::new(format!("session-token-{number}")),
            expiration: now.saturating_add(life).unwrap_or(now),
            last_updated: now,
        })
    }
}
