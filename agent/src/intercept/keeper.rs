//! Keeps the rules in the kernel: written before the first answer, looked at when something changes and every half
//! minute, and repaired. Started by `app.rs`, in a thread of its own: it alone keeps the right to change the network.
//!
//! What must always hold: the agent is ready only while the rules are whole and what they catch arrives.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use kiam_common::ops::Blocker;
use kiam_common::shutdown::Shutdown;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, sleep_until};

use super::backend::{Backend, Error, Found};
use super::interface::{self, Interfaces};
use super::metrics::{Arrivals, Noticed, RuleMetrics};
use super::{Interception, privilege};

/// How often the rules are looked at without a reason.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// How soon they are looked at again after something went wrong.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// How long to wait after a change for the others that come with it.
const SETTLE: Duration = Duration::from_millis(100);

/// What the keeper writes to, besides the kernel.
#[derive(Clone, Debug)]
pub(crate) struct Reports {
    /// Set while something is wrong.
    pub(crate) blocker: Blocker,
    /// What it finds and does.
    pub(crate) metrics: Arc<RuleMetrics>,
    /// What the listener accepted.
    pub(crate) arrivals: Arc<Arrivals>,
}

/// The keeper's thread.
#[derive(Debug)]
pub(crate) struct KeeperThread {
    installed: oneshot::Receiver<Result<(), Error>>,
    ended: oneshot::Receiver<()>,
}

impl KeeperThread {
    /// Starts it. The rights that it needs are those of the calling thread.
    pub(crate) fn start(interception: Interception, reports: Reports, shutdown: Shutdown) -> Result<Self, Error> {
        let (tell_installed, installed) = oneshot::channel();
        let (tell_ended, ended) = oneshot::channel();
        let starting = |source| Error::kernel("starting the keeper of the rules", source);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(starting)?;
        let keep = move || {
            privilege::keep_to_change_the_network();
            let keeper = Keeper::new(interception.backend(), interception.plan.interfaces.clone(), reports);
            runtime.block_on(keeper.run(interception.remove_at_exit, tell_installed, shutdown));
            // Not sent when the keeper panicked: then `ended` fails.
            let _nobody_waits = tell_ended.send(());
        };
        thread::Builder::new().name("interception".into()).spawn(keep).map_err(starting)?;
        Ok(Self { installed, ended })
    }

    /// Waits until the rules are written and read back.
    pub(crate) async fn installed(&mut self) -> Result<(), Error> {
        (&mut self.installed).await.unwrap_or(Err(Error::Ended))
    }

    /// Waits until the keeper has ended, after shutdown.
    ///
    /// # Panics
    /// If it ended for another reason, as every part of the agent that fails.
    pub(crate) async fn ended(self) {
        assert!(self.ended.await.is_ok(), "the keeper of the rules ended");
    }
}

/// Packets that the rules were for, as the kernel counts them: from 0 when rules are written.
#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    caught: u64,
    closed: u64,
}

/// Looks after the rules of one back end.
struct Keeper {
    backend: Box<dyn Backend>,
    interfaces: Interfaces,
    reports: Reports,
    counted: Counted,
    /// Connections that had been caught, and that had arrived, at the last look that was due.
    before: (u64, u64),
    /// Whether connections had been caught by then of which none had arrived.
    awaited: bool,
    /// Whether they did not arrive later, either.
    lost: bool,
    /// What was wrong at the last look.
    wrong: Option<String>,
}

impl Keeper {
    fn new(backend: Box<dyn Backend>, interfaces: Interfaces, reports: Reports) -> Self {
        let counted = Counted::default();
        Self { backend, interfaces, reports, counted, before: (0, 0), awaited: false, lost: false, wrong: None }
    }

    async fn run(mut self, remove_at_exit: bool, installed: oneshot::Sender<Result<(), Error>>, shutdown: Shutdown) {
        let first = self.begin().await;
        let begun = first.is_ok();
        // Nobody waits any more if the start was given up meanwhile.
        let _given_up = installed.send(first);
        if !begun {
            return;
        }
        self.keep(&shutdown).await;
        if remove_at_exit {
            match self.backend.remove().await {
                Ok(()) => tracing::warn!("the interception is removed: pods reach the node's own metadata service"),
                Err(error) => tracing::error!("the interception cannot be removed: {error}"),
            }
        }
    }

    /// Writes the rules, and reads them back.
    async fn begin(&mut self) -> Result<(), Error> {
        self.backend.watch().await?;
        self.write().await?;
        self.count_interfaces();
        if self.reports.metrics.interfaces.get() == 0 {
            tracing::warn!(
                "no interface is {} yet: nothing is intercepted until one is; the node has {}",
                self.interfaces,
                interface::present().unwrap_or_default().join(", ")
            );
        }
        self.reports.metrics.healthy.set(1);
        self.reports.blocker.clear();
        Ok(())
    }

    async fn keep(&mut self, shutdown: &Shutdown) {
        let mut due = Instant::now() + LOOK_EVERY;
        let mut next = due;
        loop {
            let noticed = tokio::select! {
                () = shutdown.begun() => return,
                changed = self.backend.changed() => match changed {
                    Ok(()) => Noticed::Change,
                    Err(error) => {
                        tracing::error!("changes of the rules go unnoticed: {error}");
                        self.listen_again().await;
                        Noticed::Schedule
                    }
                },
                () = sleep_until(next) => Noticed::Schedule,
            };
            if noticed == Noticed::Change {
                sleep(SETTLE).await;
            }
            let is_due = Instant::now() >= due;
            let looked = self.look(noticed, is_due).await;
            if is_due {
                due = Instant::now() + LOOK_EVERY;
            }
            next = if looked.is_ok() { due } else { due.min(Instant::now() + AGAIN_AFTER) };
            self.report(looked);
        }
    }

    async fn listen_again(&mut self) {
        sleep(AGAIN_AFTER).await;
        if let Err(error) = self.backend.watch().await {
            tracing::error!("changes of the rules still go unnoticed: {error}");
        }
    }

    /// Repairs what is wrong with the rules.
    async fn look(&mut self, noticed: Noticed, is_due: bool) -> Result<(), Error> {
        let wrong = match self.backend.check().await? {
            Found::Whole { caught, closed } => {
                self.count(Counted { caught, closed });
                self.count_interfaces();
                return self.arriving(is_due);
            }
            Found::Nothing => "all rules were gone".into(),
            Found::Different(difference) => difference,
        };
        self.write().await?;
        self.reports.metrics.repaired(noticed);
        tracing::warn!("somebody changed the interception, which is repaired: {wrong}");
        Ok(())
    }

    async fn write(&mut self) -> Result<(), Error> {
        self.backend.install().await?;
        self.counted = Counted::default();
        match self.backend.check().await? {
            Found::Whole { .. } => Ok(()),
            Found::Nothing => Err(Error::NotKept("nothing is there".into())),
            Found::Different(difference) => Err(Error::NotKept(difference)),
        }
    }

    fn count(&mut self, now: Counted) {
        let metrics = &self.reports.metrics;
        let caught = now.caught.saturating_sub(self.counted.caught);
        metrics.caught.inc_by(caught);
        metrics.closed.inc_by(now.closed.saturating_sub(self.counted.closed));
        self.counted = now;
    }

    fn count_interfaces(&self) {
        match interface::present() {
            Ok(names) => {
                let with_pods = names.iter().filter(|name| self.interfaces.has_pods(name)).count();
                self.reports.metrics.interfaces.set(i64::try_from(with_pods).unwrap_or(i64::MAX));
            }
            Err(error) => tracing::warn!("cannot read the names of the interfaces: {error}"),
        }
    }

    /// Whether what is caught arrives. What was caught just before a look that is due has time until the next one.
    fn arriving(&mut self, is_due: bool) -> Result<(), Error> {
        let (caught, arrived) = (self.reports.metrics.caught.get(), self.reports.arrivals.caught.get());
        let none_arrived = arrived == self.before.1;
        if is_due || !none_arrived {
            self.lost = none_arrived && self.awaited;
            self.awaited = none_arrived && (self.awaited || caught > self.before.0);
            self.before = (caught, arrived);
        }
        if self.lost { Err(Error::NothingArrives) } else { Ok(()) }
    }

    fn report(&mut self, looked: Result<(), Error>) {
        let Err(error) = looked else {
            self.reports.metrics.healthy.set(1);
            self.reports.blocker.clear();
            if self.wrong.take().is_some() {
                tracing::info!("the interception is sound again");
            }
            return;
        };
        self.reports.metrics.healthy.set(0);
        self.reports.metrics.failures.inc();
        self.reports.blocker.set();
        let error = Some(error.to_string());
        if self.wrong != error {
            tracing::error!(error, "the interception is not sound");
            self.wrong = error;
        }
    }
}

#[cfg(test)]
mod tests {
    use kiam_common::ops::Readiness;
    use kiam_common::registry::Registry;
    use kiam_common::testing::metrics;
    use tokio::task::JoinHandle;

    use super::*;
    use crate::intercept::fake::{Call, FakeBackend};

    struct Kept {
        backend: FakeBackend,
        registry: Registry,
        readiness: Readiness,
        arrivals: Arc<Arrivals>,
        shutdown: Shutdown,
        running: JoinHandle<()>,
    }

    /// A keeper that has begun, if it could.
    async fn keep(backend: FakeBackend, remove_at_exit: bool) -> (Kept, Result<(), Error>) {
        let (registry, readiness, shutdown) = (Registry::new(), Readiness::default(), Shutdown::new());
        let arrivals = Arc::new(Arrivals::new(&registry).unwrap());
        let reports = Reports {
            blocker: readiness.blocker("interception"),
            metrics: Arc::new(RuleMetrics::new(&registry).unwrap()),
            arrivals: arrivals.clone(),
        };
        let keeper = Keeper::new(Box::new(backend.clone()), "eni+".parse().unwrap(), reports);
        let (tell, told) = oneshot::channel();
        let running = tokio::spawn(keeper.run(remove_at_exit, tell, shutdown.clone()));
        let begun = told.await.unwrap();
        (Kept { backend, registry, readiness, arrivals, shutdown, running }, begun)
    }

    impl Kept {
        async fn after(&self, time: Duration) {
            sleep(time + Duration::from_millis(1)).await;
        }

        fn value(&self, series: &str) -> f64 {
            let text = prometheus::TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap();
            metrics::value(&text, series).unwrap()
        }

        async fn end(self) -> FakeBackend {
            self.shutdown.begin();
            self.running.await.unwrap();
            self.backend
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_rules_are_written_and_read_back_before_the_agent_is_ready() {
        let (kept, begun) = keep(FakeBackend::default(), false).await;
        begun.unwrap();
        assert_eq!((kept.backend.count(Call::Install), kept.backend.count(Call::Check)), (1, 1));
        assert!(kept.readiness.is_ready());
        assert!(kept.value("kiam_interception_healthy") > 0.0);
    }

    #[tokio::test(start_paused = true)]
    async fn rules_that_cannot_be_written_end_the_start() {
        let backend = FakeBackend::default();
        backend.refuse(true);
        let (kept, begun) = keep(backend, true).await;
        assert!(begun.unwrap_err().to_string().contains("NET_ADMIN"));
        assert!(!kept.readiness.is_ready());
        assert_eq!(kept.end().await.count(Call::Remove), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_is_repaired_within_a_second_and_unnoticed_ones_within_half_a_minute() {
        let (kept, _) = keep(FakeBackend::default(), false).await;
        kept.backend.found(Found::Different("missing: a rule".into()));
        kept.backend.change();
        kept.after(Duration::from_millis(500)).await;
        assert_eq!(kept.backend.count(Call::Install), 2);
        kept.backend.found(Found::Nothing);
        kept.after(LOOK_EVERY).await;
        assert_eq!(kept.backend.count(Call::Install), 3);
        for noticed in ["change", "schedule"] {
            let repairs = kept.value(&format!("kiam_interception_repairs_total{{noticed=\"{noticed}\"}}"));
            assert!((repairs - 1.0).abs() < 0.1, "{noticed}: {repairs}");
        }
        assert!(kept.readiness.is_ready());
    }

    #[tokio::test(start_paused = true)]
    async fn a_repair_that_fails_is_told_and_tried_again_each_second() {
        let (kept, _) = keep(FakeBackend::default(), false).await;
        kept.backend.refuse(true);
        kept.backend.found(Found::Nothing);
        kept.backend.change();
        kept.after(Duration::from_millis(500)).await;
        assert_eq!(kept.readiness.waiting_for(), ["interception"]);
        assert!(kept.value("kiam_interception_healthy") < 1.0);
        kept.after(AGAIN_AFTER).await;
        kept.after(AGAIN_AFTER).await;
        assert_eq!(kept.backend.count(Call::Install), 4);
        kept.backend.refuse(false);
        kept.after(AGAIN_AFTER).await;
        assert!(kept.readiness.is_ready());
    }

    #[tokio::test(start_paused = true)]
    async fn connections_that_are_caught_and_never_arrive_make_the_agent_unready_until_one_does() {
        let (kept, _) = keep(FakeBackend::default(), false).await;
        kept.backend.found(Found::Whole { caught: 3, closed: 2 });
        kept.after(LOOK_EVERY).await;
        assert!(kept.readiness.is_ready(), "what was caught just now may be on its way");
        kept.after(LOOK_EVERY).await;
        assert_eq!(kept.readiness.waiting_for(), ["interception"]);
        kept.backend.change();
        kept.after(AGAIN_AFTER).await;
        assert_eq!(kept.readiness.waiting_for(), ["interception"], "that a rule changed is no sign of arrival");
        kept.arrivals.caught.inc();
        kept.after(AGAIN_AFTER).await;
        assert!(kept.readiness.is_ready());
        for (verdict, packets) in [("caught", 3.0), ("closed", 2.0)] {
            let counted = kept.value(&format!("kiam_interception_packets_total{{verdict=\"{verdict}\"}}"));
            assert!((counted - packets).abs() < 0.1, "{verdict}: {counted}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn looks_for_other_reasons_do_not_put_off_the_one_that_is_due() {
        let (kept, _) = keep(FakeBackend::default(), false).await;
        kept.backend.found(Found::Whole { caught: 3, closed: 0 });
        for _ in 0..80 {
            kept.backend.change();
            kept.after(Duration::from_secs(1)).await;
        }
        assert_eq!(kept.readiness.waiting_for(), ["interception"]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_rules_stay_at_the_end_unless_told_otherwise() {
        for (remove, times) in [(false, 0), (true, 1)] {
            let (kept, _) = keep(FakeBackend::default(), remove).await;
            assert_eq!(kept.end().await.count(Call::Remove), times);
        }
    }
}
