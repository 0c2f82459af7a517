//! An STS on loopback: the query protocol's AssumeRole and GetCallerIdentity with the real service's rules and XML.
//!
//! Every role exists and trusts everybody until a test says otherwise. Every call is recorded; so are the credentials
//! given, so that a test can look for their secrets where they must not be.

mod accounts;
mod actions;
mod fault;
mod query;
mod xml;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Request, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use jiff::Timestamp;
use kiam_common::clock::Clock;

pub use accounts::{Issued, OWN_ACCESS_KEY, OWN_SECRET_KEY, Role};
pub use fault::{Fault, Scope};
pub use xml::Refusal;

use crate::loopback::{Answer, Handler, Listening, answer};
use accounts::Accounts;
use fault::Faults;
use query::Query;

/// One request and how it ended.
#[derive(Clone, Debug)]
pub struct Call {
    /// When it arrived.
    pub at: Timestamp,
    /// `AssumeRole`, `GetCallerIdentity`, or whatever was asked for.
    pub action: String,
    /// Who signed it; empty if nobody did.
    pub caller_access_key: String,
    /// The region it was signed for; empty if nobody signed it.
    pub region: String,
    /// The role's ARN; empty where the action has none.
    pub role_arn: String,
    /// RoleSessionName as it was sent.
    pub session_name: String,
    /// ExternalId, if it was sent.
    pub external_id: Option<String>,
    /// DurationSeconds as it was sent.
    pub duration_seconds: Option<String>,
    /// The error code answered; none means success, or that the call is not answered yet or never will be.
    pub error: Option<String>,
}

/// A running STS emulator.
#[derive(Debug)]
pub struct Sts {
    listening: Listening,
    service: Arc<Service>,
}

#[derive(Debug)]
struct Service {
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    accounts: Accounts,
    faults: Faults,
    calls: Vec<Call>,
}

impl Sts {
    /// Starts on any free port of 127.0.0.1.
    pub async fn start() -> io::Result<Self> {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), Clock::system()).await
    }

    /// Starts on an address, dating credentials by `clock`.
    pub async fn start_at(addr: SocketAddr, clock: Clock) -> io::Result<Self> {
        let service = Arc::new(Service { clock, state: Mutex::default() });
        let listening = Listening::start(addr, Arc::clone(&service)).await?;
        Ok(Self { listening, service })
    }

    /// What goes into `AWS_ENDPOINT_URL_STS`.
    pub fn url(&self) -> String {
        self.listening.url()
    }

    /// Describes one role; the others keep trusting everybody.
    pub fn set_role(&self, arn: &str, role: Role) {
        self.state().accounts.set_role(arn, role);
    }

    /// From now on `fault` befalls each AssumeRole in `scope`, beside the faults that are already there.
    pub fn set_fault(&self, scope: Scope, fault: Fault) {
        self.state().faults.add(scope, fault, None);
    }

    /// The next `times` AssumeRole calls in `scope` meet `fault`.
    pub fn set_fault_times(&self, scope: Scope, fault: Fault, times: usize) {
        self.state().faults.add(scope, fault, Some(times));
    }

    /// No more faults.
    pub fn clear_faults(&self) {
        self.state().faults = Faults::default();
    }

    /// Every call so far, in the order of arrival.
    pub fn calls(&self) -> Vec<Call> {
        self.state().calls.clone()
    }

    /// The AssumeRole calls for one role.
    pub fn assumptions_of(&self, role_arn: &str) -> Vec<Call> {
        self.calls().into_iter().filter(|call| call.action == "AssumeRole" && call.role_arn == role_arn).collect()
    }

    /// Every set of credentials given out so far.
    pub fn issued(&self) -> Vec<Issued> {
        self.state().accounts.issued()
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.service.state.lock().expect("no holder panics")
    }
}

impl Handler for Service {
    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Answer {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.ok()?.to_bytes();
        let query = Query::read(&parts, &body);
        let call = self.record(&query);
        let outcome = match self.befall(&query).await {
            Befallen::Nothing => self.perform(&query, None),
            Befallen::ShortLife(life) => self.perform(&query, Some(life)),
            Befallen::Refused(refusal) => Err(refusal),
            Befallen::Garbled => return Some(answer(StatusCode::OK, "text/xml", "<AssumeRoleResponse><Assume")),
            Befallen::Reset => return None,
        };
        Some(match outcome {
            Ok(xml) => answer(StatusCode::OK, "text/xml", xml),
            Err(refusal) => {
                self.state.lock().expect("no holder panics").calls[call].error = Some(refusal.code.into());
                answer(refusal.status, "text/xml", refusal.to_xml())
            }
        })
    }
}

/// What the faults left of a call.
enum Befallen {
    Nothing,
    ShortLife(Duration),
    Refused(Refusal),
    Garbled,
    Reset,
}

impl Service {
    fn record(&self, query: &Query) -> usize {
        let mut state = self.state.lock().expect("no holder panics");
        state.calls.push(Call {
            at: self.clock.now(),
            action: query.get("Action").unwrap_or_default().into(),
            caller_access_key: query.caller_access_key.clone(),
            region: query.region.clone(),
            role_arn: query.get("RoleArn").unwrap_or_default().into(),
            session_name: query.get("RoleSessionName").unwrap_or_default().into(),
            external_id: query.get("ExternalId").map(Into::into),
            duration_seconds: query.get("DurationSeconds").map(Into::into),
            error: None,
        });
        state.calls.len() - 1
    }

    async fn befall(&self, query: &Query) -> Befallen {
        if query.get("Action") != Some("AssumeRole") {
            return Befallen::Nothing;
        }
        let role_arn = query.get("RoleArn").unwrap_or_default();
        let faults = self.state.lock().expect("no holder panics").faults.due(role_arn);
        let mut short_life = None;
        for fault in faults {
            match fault {
                Fault::Delay(by) => tokio::time::sleep(by).await,
                Fault::Hang => std::future::pending().await,
                Fault::SessionLife(life) => short_life = Some(life),
                Fault::MalformedXml => return Befallen::Garbled,
                Fault::Reset => return Befallen::Reset,
                Fault::Refuse(refusal) => return Befallen::Refused(refusal),
            }
        }
        short_life.map_or(Befallen::Nothing, Befallen::ShortLife)
    }

    fn perform(&self, query: &Query, life: Option<Duration>) -> Result<String, Refusal> {
        let mut state = self.state.lock().expect("no holder panics");
        let now = self.clock.now();
        match query.get("Action") {
            Some("AssumeRole") => actions::assume_role(&mut state.accounts, query, life, now),
            Some("GetCallerIdentity") => actions::get_caller_identity(&state.accounts, query, now),
            other => Err(Refusal::invalid_action(other.unwrap_or_default())),
        }
    }
}
