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

use futures_util::StreamExt;
use http::header::DATE;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use jiff::{SignedDuration, Timestamp};
use kiam_common::clock::Clock;

pub use accounts::{Issued, OWN_ACCESS_KEY, OWN_SECRET_KEY, Role};
pub use fault::{Fault, Scope};
pub use xml::Refusal;

use crate::loopback::{Answer, Body, Handler, Listening, answer};
use accounts::Accounts;
use actions::Distortion;
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
    pace: Option<Pace>,
}

/// The date runs faster than time passes.
#[derive(Clone, Copy, Debug)]
struct Pace {
    since: Timestamp,
    times: i32,
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

    /// From now on the date here runs `times` as fast, and sessions are over so much earlier. Whoever reads only the
    /// answers' `Date` and `Expiration` does not see that a session ends before its time: the two are as far apart as
    /// the session really lives.
    pub fn set_pace(&self, times: i32) {
        let since = self.service.clock.now();
        self.state().pace = Some(Pace { since, times });
    }

    /// The date here.
    pub fn now(&self) -> Timestamp {
        self.service.now()
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
        let befallen = self.befall(&query).await;
        match befallen.end {
            End::Answer => {}
            End::Refuse(refusal) => return Some(self.refused(call, &refusal)),
            End::Garble => return Some(answer(StatusCode::OK, "text/xml", "<AssumeRoleResponse><Assume")),
            End::Reset => return None,
        }
        let now = self.now() + befallen.distortion.clock_ahead;
        let mut answered = match self.perform(&query, &befallen.distortion, now) {
            Ok(xml) => answer(StatusCode::OK, "text/xml", xml),
            Err(refusal) => self.refused(call, &refusal),
        };
        answered.headers_mut().insert(DATE, http_date(now + self.haste(&query)));
        if let Some(pause) = befallen.drip {
            answered = answered.map(|body| dripping(body, pause));
        }
        Some(answered)
    }
}

/// What the faults left of a call.
#[derive(Default)]
struct Befallen {
    end: End,
    distortion: Distortion,
    drip: Option<Duration>,
}

#[derive(Default)]
enum End {
    #[default]
    Answer,
    Refuse(Refusal),
    Garble,
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
        let mut befallen = Befallen::default();
        if query.get("Action") != Some("AssumeRole") {
            return befallen;
        }
        let role_arn = query.get("RoleArn").unwrap_or_default();
        let faults = self.state.lock().expect("no holder panics").faults.due(role_arn);
        for fault in faults {
            match fault {
                Fault::Delay(by) => tokio::time::sleep(by).await,
                Fault::Hang => std::future::pending().await,
                Fault::Drip(pause) => befallen.drip = Some(pause),
                Fault::SessionLife(life) => befallen.distortion.life = Some(signed(life)),
                Fault::EndedBefore(by) => befallen.distortion.life = Some(-signed(by)),
                Fault::ClockAhead(by) => befallen.distortion.clock_ahead = by,
                Fault::EmptyCredentials => befallen.distortion.empty = true,
                Fault::MalformedXml => befallen.end = End::Garble,
                Fault::Reset => befallen.end = End::Reset,
                Fault::Refuse(refusal) => befallen.end = End::Refuse(refusal),
            }
            if !matches!(befallen.end, End::Answer) {
                break;
            }
        }
        befallen
    }

    fn now(&self) -> Timestamp {
        let (now, pace) = (self.clock.now(), self.state.lock().expect("no holder panics").pace);
        pace.map_or(now, |pace| pace.since + now.duration_since(pace.since) * pace.times)
    }

    /// How much of the session that is asked for passes in haste.
    fn haste(&self, query: &Query) -> SignedDuration {
        let times = self.state.lock().expect("no holder panics").pace.map_or(1, |pace| pace.times);
        let asked = query.get("DurationSeconds").and_then(|seconds| seconds.parse().ok()).unwrap_or(0);
        SignedDuration::from_secs(asked) - SignedDuration::from_secs(asked) / times
    }

    fn perform(&self, query: &Query, distortion: &Distortion, now: Timestamp) -> Result<String, Refusal> {
        let mut state = self.state.lock().expect("no holder panics");
        match query.get("Action") {
            Some("AssumeRole") => actions::assume_role(&mut state.accounts, query, distortion, now),
            Some("GetCallerIdentity") => actions::get_caller_identity(&state.accounts, query, now),
            other => Err(Refusal::invalid_action(other.unwrap_or_default())),
        }
    }

    fn refused(&self, call: usize, refusal: &Refusal) -> Response<Body> {
        self.state.lock().expect("no holder panics").calls[call].error = Some(refusal.code.into());
        answer(refusal.status, "text/xml", refusal.to_xml())
    }
}

fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).expect("shorter than an age")
}

fn http_date(instant: Timestamp) -> HeaderValue {
    HeaderValue::from_str(&instant.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()).expect("a date is printable")
}

/// One byte after each pause.
fn dripping(body: Body, pause: Duration) -> Body {
    let bytes = body.into_data_stream().flat_map(|chunk| {
        let bytes = chunk.unwrap_or_default();
        futures_util::stream::iter((0..bytes.len()).map(move |at| bytes.slice(at..=at)))
    });
    let frames = bytes.then(move |byte| async move {
        tokio::time::sleep(pause).await;
        Ok(Frame::data(byte))
    });
    StreamBody::new(frames).boxed_unsync()
}
