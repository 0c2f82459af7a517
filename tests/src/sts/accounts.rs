//! Who is who: the roles, the sessions given out, and the key that the server itself holds.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::loopback::{BASE32, BASE64, random_text};

/// The access key that programs under test are given as their own.
pub const OWN_ACCESS_KEY: &str = "AKIASANDBOXKIAMSERVE";

/// The secret that belongs to it.
pub const OWN_SECRET_KEY: &str = "sandbox/own/secret/of/the/server/0000000";

/// What there is to know about a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    /// Whether the caller may assume it.
    pub trusted: bool,
    /// The ExternalId that its trust policy asks for.
    pub external_id: Option<String>,
    /// The longest session it allows.
    pub max_session: Duration,
}

impl Default for Role {
    fn default() -> Self {
        Self { trusted: true, external_id: None, max_session: Duration::from_hours(12) }
    }
}

/// A role session that was given out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    /// The role.
    pub role_arn: String,
    /// The session: `arn:aws:sts::<account>:assumed-role/<name>/<session>`.
    pub arn: String,
    /// `AROA…:<session>`.
    pub user_id: String,
    /// `ASIA…`.
    pub access_key_id: String,
    /// To be looked for where it must not be.
    pub secret_access_key: String,
    /// To be looked for where it must not be.
    pub session_token: String,
    /// When it ends.
    pub expiration: Timestamp,
}

/// Somebody who signs requests.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) arn: String,
    pub(super) user_id: String,
    pub(super) account: String,
    /// When a session ends; none for a user's own key.
    pub(super) session_ends: Option<Timestamp>,
}

#[derive(Debug, Default)]
pub(super) struct Accounts {
    roles: HashMap<String, Role>,
    issued: Vec<Issued>,
    by_access_key: HashMap<String, usize>,
}

impl Accounts {
    pub(super) fn set_role(&mut self, arn: &str, role: Role) {
        self.roles.insert(arn.into(), role);
    }

    pub(super) fn role(&self, arn: &str) -> Role {
        self.roles.get(arn).cloned().unwrap_or_default()
    }

    pub(super) fn issued(&self) -> Vec<Issued> {
        self.issued.clone()
    }

    pub(super) fn caller(&self, access_key_id: &str) -> Option<Caller> {
        if access_key_id == OWN_ACCESS_KEY {
            return Some(Caller {
                arn: "arn:aws:iam::123456789012:user/kiam-server".into(),
                user_id: "AIDASANDBOXKIAMSERVER".into(),
                account: "123456789012".into(),
                session_ends: None,
            });
        }
        let issued = &self.issued[*self.by_access_key.get(access_key_id)?];
        Some(Caller {
            arn: issued.arn.clone(),
            user_id: issued.user_id.clone(),
            account: part(&issued.role_arn, 4).into(),
            session_ends: Some(issued.expiration),
        })
    }

    /// Opens a session.
    pub(super) fn issue(&mut self, role_arn: &str, session_name: &str, expiration: Timestamp) -> &Issued {
        let (partition, account) = (part(role_arn, 1), part(role_arn, 4));
        let role_name = role_arn.rsplit('/').next().unwrap_or_default();
        let access_key_id = format!("ASIA{}", random_text(BASE32, 16));
        self.by_access_key.insert(access_key_id.clone(), self.issued.len());
        self.issued.push(Issued {
            role_arn: role_arn.into(),
            arn: format!("arn:{partition}:sts::{account}:assumed-role/{role_name}/{session_name}"),
            user_id: format!("AROA{}:{session_name}", random_text(BASE32, 17)),
            access_key_id,
            secret_access_key: random_text(BASE64, 40),
            session_token: format!("FwoGZXIvYXdzE{}", random_text(BASE64, 340)),
            expiration,
        });
        &self.issued[self.issued.len() - 1]
    }
}

/// The part of an ARN at `index`, counted from `arn`.
fn part(arn: &str, index: usize) -> &str {
    arn.split(':').nth(index).unwrap_or_default()
}
