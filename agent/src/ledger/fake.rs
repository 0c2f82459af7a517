//! A network that leads where a test says, and what servers say in tests.

use std::collections::HashMap;
use std::sync::Mutex;

use super::pin::EndpointId;
use super::*;
use crate::document::Documents;

/// The network of a node in a test.
#[derive(Default)]
pub(crate) struct FakeNetwork {
    endpoints: Mutex<HashMap<IpAddr, EndpointId>>,
}

impl FakeNetwork {
    /// The address leads to this interface, and to this hardware address if one is known.
    pub(crate) fn lead(&self, ip: IpAddr, interface: u32, hardware: Option<[u8; 6]>) {
        self.endpoints.lock().unwrap().insert(ip, EndpointId { interface, hardware });
    }

    /// The address leads nowhere.
    pub(crate) fn cut(&self, ip: IpAddr) {
        self.endpoints.lock().unwrap().remove(&ip);
    }
}

impl Network for FakeNetwork {
    fn endpoint_of(&self, ip: IpAddr) -> Option<EndpointId> {
        self.endpoints.lock().unwrap().get(&ip).copied()
    }
}

/// The pod with this uid, and what it may have.
pub(crate) fn of_pod(uid: &str, decision: Decision) -> Binding {
    Binding { uid: uid.into(), namespace: "team".into(), name: format!("pod-{uid}").into(), decision }
}

/// The pod with this uid may have the role `reader`, with the credentials of this session.
pub(crate) fn bind(ip: IpAddr, uid: &str, session: u64) -> Change {
    let role = BoundRole { name: "reader".into(), arn: "arn:aws:iam::123456789012:role/reader".into(), session };
    Change::Bind(ip, of_pod(uid, Decision::Role(role)))
}

/// A session's credentials: `text`, for that long.
pub(crate) fn grant(session: u64, text: &str, life: Duration) -> Change {
    let text = text.to_owned();
    let documents = Documents { plain: text.clone().into(), extended: format!("{text}, extended").into() };
    Change::Grant(session, Credentials { documents, ends: Instant::now() + life })
}

/// A snapshot of these.
pub(crate) fn snapshot(changes: impl IntoIterator<Item = Change>) -> Told {
    let mut told = Told::default();
    for change in changes {
        told.apply(change).unwrap();
    }
    told
}
