//! The vault under paused time, over a fake STS.

mod limits;
mod outages;
mod prefetch;
mod refusals;
mod renewal;
mod sharing;
mod traces;

use std::sync::Arc;
use std::time::Duration;

use kiam_common::registry::Registry;
use kiam_common::shutdown::Shutdown;
use tokio::time::{Instant, sleep};

use super::place::Outcome;
use super::{Settings, Vault, upkeep};
use crate::directory::Directory;
use crate::fixtures::{self, identity, namespace, pod};
use crate::sts::StsErrorKind;
use crate::sts::fake::FakeSts;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);

/// A vault at work.
struct Stand {
    vault: Arc<Vault>,
    sts: Arc<FakeSts>,
    directory: Arc<Directory>,
    registry: Registry,
    shutdown: Shutdown,
}

impl Stand {
    fn new() -> Self {
        Self::with(&fixtures::VAULT)
    }

    fn with(settings: &Settings) -> Self {
        let (registry, directory, shutdown) = (Registry::new(), fixtures::directory(), Shutdown::new());
        directory.apply_namespace(&namespace(".*"));
        let (vault, sts) = fixtures::vault_with(settings, &registry, &directory);
        tokio::spawn(upkeep::keep(Arc::clone(&vault), shutdown.clone()));
        Self { vault, sts, directory, registry, shutdown }
    }

    /// A pod with that role is seen, before it has an IP.
    fn add_pod(&self, name: &str, role: &str) {
        let mut fields = pod(name, "10.0.0.1", Some(role));
        fields.ips.clear();
        for demand in self.directory.apply_pod(&fields).demands {
            self.vault.offer(&demand);
        }
    }

    /// What a pod with that role gets that waits for five seconds.
    async fn get(&self, role: &str) -> Outcome {
        self.vault.get(&identity(role), Instant::now() + 5 * SECOND).await
    }

    async fn key(&self, role: &str) -> String {
        self.get(role).await.unwrap().credentials.access_key_id.clone()
    }

    async fn error_kind(&self, role: &str) -> StsErrorKind {
        self.get(role).await.unwrap_err().kind
    }

    fn calls(&self) -> usize {
        self.sts.calls().len()
    }

    /// The roles that STS was asked for, in order.
    fn asked(&self) -> Vec<String> {
        let calls = self.sts.calls();
        calls.iter().map(|call| call.arn.as_str().rsplit('/').next().unwrap().to_owned()).collect()
    }

    fn count(&self, series: &str) -> i64 {
        fixtures::count(&self.registry, series)
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        self.shutdown.begin();
    }
}

/// Time for tasks that were spawned to run; paused time moves by no more than this.
async fn settle() {
    sleep(Duration::from_millis(1)).await;
}
