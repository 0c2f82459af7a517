//! Pods that ask for their role and its credentials, again and again, half of them over one connection each and half
//! with a new connection for each request. Every answer is judged: 200, and the pod's own role.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use http::{Request, StatusCode};
use kiam_tests::netns::Namespace;
use kiam_tests::real::eventually;
use kiam_tests::real::http::{Answer, Connection, get};
use kiam_tests::stack::ROLE_BASE_ARN;
use kiam_tests::sts::Sts;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

/// How many requests all pods together make in a second, if the machine has time for them.
const RATE: u32 = 2000;
/// How long a pod waits. SDKs wait a second; this machine does much else at the same time, and the slowest is printed.
const PATIENCE: Duration = Duration::from_secs(5);
/// As many failures are described.
const DESCRIBED: usize = 20;
/// Pods ask for their role here.
const LIST: &str = "/latest/meta-data/iam/security-credentials/";

/// A pod.
#[derive(Clone, Debug)]
pub(crate) struct Pod {
    /// Its address.
    pub(crate) ip: IpAddr,
    /// The role that it has.
    pub(crate) role: String,
    /// Where the agent of its node answers.
    pub(crate) agent: SocketAddr,
    /// Its network, where it has one of its own.
    pub(crate) namespace: Option<Namespace>,
}

/// Pods at work.
pub(crate) struct Load {
    begun: Instant,
    over: watch::Sender<bool>,
    pods: JoinSet<(Pod, Record)>,
}

impl Load {
    /// Lets the pods ask until [`Load::stop`].
    pub(crate) fn start(pods: &[Pod]) -> Self {
        let over = watch::Sender::new(false);
        let every = Duration::from_secs(1) * u32::try_from(pods.len()).expect("not so many pods") / RATE;
        let mut asking = JoinSet::new();
        for (number, pod) in pods.iter().enumerate() {
            let pods = ask(pod.clone(), number % 2 == 0, every, over.subscribe());
            match pod.namespace.clone() {
                Some(namespace) => asking.spawn(async move { namespace.run(pods).await }),
                None => asking.spawn(pods),
            };
        }
        Self { begun: Instant::now(), over, pods: asking }
    }

    /// Lets the pods finish their last requests, and looks up whose the credentials are that they were given.
    pub(crate) async fn stop(self, sts: &Sts) -> Tally {
        self.over.send_replace(true);
        let mut tally = Tally { time: self.begun.elapsed(), ..Tally::default() };
        let records = self.pods.join_all().await;
        let roles: HashMap<_, _> =
            sts.issued().into_iter().map(|issued| (issued.access_key_id, issued.role_arn)).collect();
        for (pod, mut record) in records {
            let own = format!("{ROLE_BASE_ARN}{}", pod.role);
            for (key, times) in std::mem::take(&mut record.keys) {
                if roles.get(&key) != Some(&own) {
                    record.fail(times, format!("the credentials {key}, of {:?}", roles.get(&key)));
                }
            }
            tally.add(&pod, record);
        }
        tally
    }
}

/// What one pod has seen.
#[derive(Default)]
struct Record {
    requests: u64,
    failed: u64,
    failures: Vec<String>,
    slowest: Duration,
    /// How often it was given which credentials.
    keys: HashMap<String, u64>,
}

impl Record {
    fn note(&mut self, took: Duration, outcome: Result<Option<String>, String>) {
        self.requests += 1;
        self.slowest = self.slowest.max(took);
        match outcome {
            Ok(Some(key)) => *self.keys.entry(key).or_default() += 1,
            Ok(None) => {}
            Err(failure) => self.fail(1, failure),
        }
    }

    fn fail(&mut self, times: u64, why: String) {
        self.failed += times;
        if self.failures.len() < DESCRIBED {
            self.failures.push(why);
        }
    }
}

async fn ask(pod: Pod, keeps: bool, every: Duration, over: watch::Receiver<bool>) -> (Pod, Record) {
    let mut record = Record::default();
    let mut kept = None;
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    while !*over.borrow() {
        ticks.tick().await;
        let begun = Instant::now();
        let outcome = timeout(PATIENCE, pod.ask(record.requests % 2 == 0, &mut kept)).await;
        record.note(begun.elapsed(), outcome.unwrap_or_else(|_| Err(format!("no answer within {PATIENCE:?}"))));
        kept = kept.filter(|_| keeps);
    }
    (pod, record)
}

impl Pod {
    /// Waits until it is answered its own role.
    pub(crate) async fn waits_for_its_role(&self) {
        let served = async || (self.role_now().await == (StatusCode::OK, self.role.clone())).then_some(());
        eventually("the pod to have its role", served).await;
    }

    /// What it is answered for its role now.
    pub(crate) async fn role_now(&self) -> (StatusCode, String) {
        let asked = {
            let pod = self.clone();
            async move { get(pod.ip, pod.agent, LIST).await }
        };
        let answer = match &self.namespace {
            Some(namespace) => namespace.run(asked).await,
            None => asked.await,
        };
        (answer.status, answer.body)
    }

    /// Asks for the role's name, or for its credentials: then the access key is what is returned.
    async fn ask(&self, for_name: bool, kept: &mut Option<Connection>) -> Result<Option<String>, String> {
        let path = if for_name { LIST.to_owned() } else { format!("{LIST}{}", self.role) };
        let answer = self.get(&path, kept).await.map_err(|error| format!("{path}: {error}"))?;
        match answer {
            Answer { status: StatusCode::OK, body, .. } if for_name && body == self.role => Ok(None),
            Answer { status: StatusCode::OK, .. } if !for_name => Ok(Some(answer.field("AccessKeyId"))),
            Answer { status, body, .. } => Err(format!("{path}: {status} {body}")),
        }
    }

    async fn get(
        &self,
        path: &str,
        kept: &mut Option<Connection>,
    ) -> Result<Answer, Box<dyn std::error::Error + Send + Sync>> {
        let mut connection = match kept.take() {
            Some(connection) if !connection.is_closed() => connection,
            _ => Connection::open(self.ip, self.agent).await?,
        };
        let answer = connection.send(Request::get(path).body(String::new())?).await;
        *kept = Some(connection);
        answer
    }
}

/// What all pods have seen.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    requests: u64,
    failed: u64,
    failures: Vec<String>,
    slowest: Duration,
    time: Duration,
}

impl Tally {
    fn add(&mut self, pod: &Pod, record: Record) {
        self.requests += record.requests;
        self.failed += record.failed;
        self.slowest = self.slowest.max(record.slowest);
        self.failures.extend(record.failures.into_iter().map(|failure| format!("{} {}: {failure}", pod.ip, pod.role)));
        self.failures.truncate(DESCRIBED);
    }

    /// # Panics
    /// If a request failed, or hardly any were made.
    pub(crate) fn assert_none_failed(&self) {
        assert_eq!(self.failed, 0, "{self}:\n{}", self.failures.join("\n"));
        let least = 50 * self.time.as_secs();
        assert!(self.requests > least, "{self}: expected {least} requests at the very least");
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { requests, failed, slowest, time, .. } = self;
        write!(
            f,
            "{requests} requests in {:.1} s, {failed} failed, slowest {} ms",
            time.as_secs_f64(),
            slowest.as_millis()
        )
    }
}
