//! A server that answers what a test says, and remembers what it was asked.

use std::collections::HashMap;
use std::sync::Mutex;

use kiam_common::reason::Reason;
use tokio::sync::{Notify, watch};

use super::*;
use crate::sync::status::unreachable;

/// What a fake server holds for one pod.
#[derive(Clone)]
pub(crate) enum Pod {
    /// A role, and the credentials of it.
    Role(&'static str, kiam::Credentials),
    /// No role.
    NoRole,
    /// A refusal of every call.
    Refused(Refusal),
}

/// Answers by pod; a pod that it does not know yet is waited for until the deadline, as our own server does.
#[derive(Default)]
pub(crate) struct FakeServer {
    pods: Mutex<HashMap<IpAddr, Pod>>,
    changed: Notify,
    /// The health it tells; `None` is unreachable.
    pub(crate) health: Mutex<Option<String>>,
    /// The uid of every pod, if it tells.
    pub(crate) uid: Mutex<Option<&'static str>>,
    /// The calls it took: which, for whom, for which role.
    pub(crate) calls: Mutex<Vec<(&'static str, IpAddr, String)>>,
    /// How many calls are neither answered nor given up.
    in_flight: watch::Sender<usize>,
}

struct InFlight<'f>(&'f watch::Sender<usize>);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|calls| *calls -= 1);
    }
}

impl FakeServer {
    pub(crate) fn set(&self, ip: &str, pod: Pod) {
        self.pods.lock().unwrap().insert(ip.parse().unwrap(), pod);
        self.changed.notify_waiters();
    }

    /// Takes a pod away, as if it had not been heard of yet.
    pub(crate) fn forget(&self, ip: &str) {
        self.pods.lock().unwrap().remove(&ip.parse::<IpAddr>().unwrap());
    }

    /// Waits until this many calls are waiting for their pod.
    pub(crate) async fn waiting(&self, calls: usize) {
        self.in_flight.subscribe().wait_for(|in_flight| *in_flight == calls).await.unwrap();
    }

    async fn pod(&self, ip: IpAddr, deadline: Instant) -> Result<Pod, Refusal> {
        self.in_flight.send_modify(|calls| *calls += 1);
        let _in_flight = InFlight(&self.in_flight);
        loop {
            let changed = self.changed.notified();
            if let Some(pod) = self.pods.lock().unwrap().get(&ip) {
                return Ok(pod.clone());
            }
            if tokio::time::timeout_at(deadline, changed).await.is_err() {
                let message = "no pod found".to_owned();
                return Err(Refusal { reason: Reason::PodNotFound, message, aws_code: None });
            }
        }
    }

    fn answered<T>(&self, what: T) -> Answered<T> {
        Answered { what, uid: self.uid.lock().unwrap().map(Box::from) }
    }

    fn called(&self, call: &'static str, pod: IpAddr, role: &str) {
        self.calls.lock().unwrap().push((call, pod, role.to_owned()));
    }
}

#[async_trait]
impl Server for FakeServer {
    async fn role(&self, pod: IpAddr, deadline: Instant) -> Result<Answered<String>, Refusal> {
        self.called("role", pod, "");
        match self.pod(pod, deadline).await? {
            Pod::Role(name, _) => Ok(self.answered(name.into())),
            Pod::NoRole => Ok(self.answered(String::new())),
            Pod::Refused(refusal) => Err(refusal),
        }
    }

    async fn credentials(
        &self,
        pod: IpAddr,
        role: &str,
        deadline: Instant,
    ) -> Result<Answered<kiam::Credentials>, Refusal> {
        self.called("credentials", pod, role);
        let refused = |reason, message: &str| Refusal { reason, message: message.into(), aws_code: None };
        match self.pod(pod, deadline).await? {
            Pod::Role(name, credentials) if name == role => Ok(self.answered(credentials)),
            Pod::Role(..) => Err(refused(Reason::Forbidden, "another role")),
            Pod::NoRole => Err(refused(Reason::NoRole, "no role")),
            Pod::Refused(refusal) => Err(refusal),
        }
    }

    async fn health(&self, _deadline: Instant) -> Result<String, Refusal> {
        self.health.lock().unwrap().clone().ok_or_else(|| unreachable("gone"))
    }
}
