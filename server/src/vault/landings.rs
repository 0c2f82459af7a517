//! Which role identities have something new in the vault: credentials, a failure, or nothing any more. The desk takes
//! them, all at once, and looks.

use std::collections::HashSet;
use std::sync::Arc;

use kiam_common::role::RoleIdentity;

use crate::pending::Pending;

/// Role identities to look at again. There are never more of them than the vault has had entries.
#[derive(Debug, Default)]
pub struct Landings(Pending<HashSet<Arc<RoleIdentity>>>);

impl Landings {
    /// Something has happened to an identity.
    pub(super) fn note(&self, identity: &Arc<RoleIdentity>) {
        self.0.add(|identities| {
            identities.insert(Arc::clone(identity));
        });
    }

    /// Waits for something to happen, and says to which identities.
    pub async fn next(&self) -> HashSet<Arc<RoleIdentity>> {
        self.0.take().await
    }
}
