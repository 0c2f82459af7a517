//! An STS that answers as the history says, and whose every session is known by its access key.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use kiam_common::credentials::Credentials;
use kiam_common::role::RoleIdentity;
use kiam_common::secret::Secret;
use kiam_server::sts::{Session, Sts, StsError, StsErrorKind};
use tokio::time::Instant;

use crate::cluster::ARN;
use crate::history::{Mood, ROLES};

/// How long a slow answer takes.
const SLOW: Duration = Duration::from_secs(3);

/// A session that was given.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Given {
    pub(crate) role: usize,
    pub(crate) ends: Instant,
}

#[derive(Debug)]
pub(crate) struct Script {
    moods: [Mood; ROLES.len()],
    /// Which roles were refused at some time.
    pub(crate) refused: [bool; ROLES.len()],
    given: Vec<Given>,
}

#[derive(Debug)]
pub(crate) struct ScriptedSts(Mutex<Script>);

impl ScriptedSts {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Script {
            moods: [Mood::Grants(3600); ROLES.len()],
            refused: [false; ROLES.len()],
            given: Vec::new(),
        }))
    }

    pub(crate) fn script(&self) -> MutexGuard<'_, Script> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How a role is answered from now on.
    pub(crate) fn set(&self, role: usize, mood: Mood) {
        let mut script = self.script();
        script.moods[role] = mood;
        script.refused[role] |= mood == Mood::Refuses;
    }

    /// Whatever is wrong is over, but refusals.
    pub(crate) fn recover(&self) {
        let well = self.script().moods.map(|mood| if mood == Mood::Refuses { mood } else { Mood::Grants(3600) });
        self.script().moods = well;
    }

    /// Whether a role is refused.
    pub(crate) fn refuses(&self, role: usize) -> bool {
        self.script().moods[role] == Mood::Refuses
    }

    /// The session that a document has the credentials of.
    pub(crate) fn given_in(&self, document: &[u8]) -> Option<Given> {
        let (_, rest) = std::str::from_utf8(document).ok()?.split_once(r#""AccessKeyId":""#)?;
        self.given(rest.split_once('"')?.0)
    }

    /// The session with this access key.
    pub(crate) fn given(&self, key: &str) -> Option<Given> {
        let number: usize = key.strip_prefix("ASIA")?.parse().ok()?;
        self.script().given.get(number).copied()
    }
}

#[async_trait]
impl Sts for ScriptedSts {
    async fn assume_role(&self, identity: &RoleIdentity, _: Duration) -> Result<Session, StsError> {
        let name = identity.arn.as_str().strip_prefix(ARN).expect("a role of this account");
        let role = ROLES.iter().position(|role| *role == name).expect("a role of the model");
        let mood = self.script().moods[role];
        let failed = |kind| StsError { kind, code: None, message: "as the history says".into() };
        let seconds = match mood {
            Mood::Grants(seconds) => seconds,
            Mood::Slow => {
                tokio::time::sleep(SLOW).await;
                3600
            }
            Mood::Fails => return Err(failed(StsErrorKind::Unavailable)),
            Mood::Refuses => return Err(failed(StsErrorKind::Refused)),
        };
        let life = Duration::from_secs(seconds);
        let mut script = self.script();
        let number = script.given.len();
        script.given.push(Given { role, ends: Instant::now() + life });
        let credentials = Credentials {
            access_key_id: format!("ASIA{number}"),
            secret_access_key: Secret::new("secret".into()),
            session_token: Secret::new("token".into()),
            expiration: Timestamp::UNIX_EPOCH,
            last_updated: Timestamp::UNIX_EPOCH,
        };
        Ok(Session { credentials, life })
    }
}
