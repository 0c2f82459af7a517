//! Requests of one pod for one role at the same moment share one call to the server, and the bytes of its answer.
//! `imds.rs` fetches documents through it.
//!
//! What must always hold: nobody joins a call that began more than a blink ago, so an answer is never noticeably
//! older than the request for it; and whoever hangs up, first or last, takes only its own wait along.

use std::collections::HashMap;
use std::future::Future;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared, WeakShared};
use tokio::time::Instant;

use crate::error::Error;

/// How long after its beginning a call may be joined: far less than an address takes to get to another pod.
const JOIN_WITHIN: Duration = Duration::from_millis(50);

/// A document on its way.
pub(crate) type Document = Shared<BoxFuture<'static, Result<Bytes, Error>>>;

/// What a pod asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// The role whose credentials it wants.
    pub(crate) role: String,
    /// Whether the document shall name the account too.
    pub(crate) extended: bool,
}

/// The calls in flight, the latest for each pod.
#[derive(Default)]
pub(crate) struct Flights(Mutex<Table>);

#[derive(Default)]
struct Table {
    by_pod: HashMap<IpAddr, Flight>,
    begun: u64,
}

struct Flight {
    number: u64,
    begun: Instant,
    wanted: Wanted,
    document: WeakShared<BoxFuture<'static, Result<Bytes, Error>>>,
}

/// Takes a call out of the table when it ends, or when all who waited for it are gone.
struct Landing {
    flights: Arc<Flights>,
    pod: IpAddr,
    number: u64,
}

impl Flights {
    /// Joins the call that is in flight for the same, or begins one with `fetch`.
    pub(crate) fn join<F>(self: &Arc<Self>, pod: IpAddr, wanted: Wanted, fetch: impl FnOnce(Wanted) -> F) -> Document
    where
        F: Future<Output = Result<Bytes, Error>> + Send + 'static,
    {
        let mut table = self.table();
        let joinable = |flight: &&Flight| flight.wanted == wanted && flight.begun.elapsed() < JOIN_WITHIN;
        if let Some(document) = table.by_pod.get(&pod).filter(joinable).and_then(|flight| flight.document.upgrade()) {
            return document;
        }
        table.begun += 1;
        let number = table.begun;
        let landing = Landing { flights: self.clone(), pod, number };
        let fetching = fetch(wanted.clone());
        let document = async move {
            let _landing = landing;
            fetching.await
        };
        let document = document.boxed().shared();
        if let Some(weak) = document.downgrade() {
            table.by_pod.insert(pod, Flight { number, begun: Instant::now(), wanted, document: weak });
        }
        document
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        let mut table = self.flights.table();
        if table.by_pod.get(&self.pod).is_some_and(|flight| flight.number == self.number) {
            table.by_pod.remove(&self.pod);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Notify;

    use super::*;

    const POD: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

    /// Calls that are counted, and answered when the test says.
    #[derive(Default)]
    struct Source {
        flights: Arc<Flights>,
        calls: Arc<AtomicUsize>,
        answer: Arc<Notify>,
    }

    impl Source {
        fn ask(&self, pod: IpAddr, role: &str) -> Document {
            let (calls, answer) = (self.calls.clone(), self.answer.clone());
            self.flights.join(pod, Wanted { role: role.into(), extended: false }, |wanted| async move {
                calls.fetch_add(1, Ordering::SeqCst);
                answer.notified().await;
                Ok(Bytes::from(format!("{pod} {}", wanted.role)))
            })
        }

        fn calls(&self) -> usize {
            self.calls.load(Ordering::SeqCst)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn requests_for_the_same_share_one_call() {
        let source = Source::default();
        let asking: Vec<_> = (0..32).map(|_| tokio::spawn(source.ask(POD, "reader"))).collect();
        tokio::task::yield_now().await;
        source.answer.notify_one();
        for answer in asking {
            assert_eq!(answer.await.unwrap().unwrap(), "10.0.0.1 reader");
        }
        assert_eq!(source.calls(), 1);
        assert!(source.flights.table().by_pod.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn another_pod_or_another_role_is_another_call() {
        let source = Source::default();
        let asking = [source.ask(POD, "reader"), source.ask(OTHER, "reader"), source.ask(POD, "writer")];
        let answering = async {
            for _ in 0..3 {
                tokio::task::yield_now().await;
                source.answer.notify_one();
            }
        };
        let (answers, ()) = tokio::join!(futures_util::future::join_all(asking), answering);
        let answers: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
        assert_eq!(answers, ["10.0.0.1 reader", "10.0.0.2 reader", "10.0.0.1 writer"]);
        assert!(source.flights.table().by_pod.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_began_a_call_may_hang_up() {
        let source = Source::default();
        let first = tokio::spawn(source.ask(POD, "reader"));
        tokio::task::yield_now().await;
        let second = tokio::spawn(source.ask(POD, "reader"));
        tokio::task::yield_now().await;
        first.abort();
        assert!(first.await.unwrap_err().is_cancelled());
        source.answer.notify_one();
        assert_eq!(second.await.unwrap().unwrap(), "10.0.0.1 reader");
        assert_eq!(source.calls(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_nobody_waits_for_is_dropped() {
        let source = Source::default();
        drop(source.ask(POD, "reader"));
        assert!(source.flights.table().by_pod.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_has_been_on_its_way_for_long_is_not_joined() {
        let source = Source::default();
        let old = tokio::spawn(source.ask(POD, "reader"));
        tokio::time::sleep(JOIN_WITHIN).await;
        let new = tokio::spawn(source.ask(POD, "reader"));
        tokio::task::yield_now().await;
        assert_eq!(source.calls(), 2);
        source.answer.notify_waiters();
        old.await.unwrap().unwrap();
        new.await.unwrap().unwrap();
    }
}
