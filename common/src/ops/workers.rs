//! What `/metrics` tells of the asynchronous runtime, read at each scrape.

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Counter, IntGauge};
use tokio::runtime::{Handle, RuntimeMetrics};

use crate::registry::Registry;

/// Registers `kiam_runtime_…` of the runtime that this is called on.
pub(super) fn register(registry: &Registry) -> Result<(), prometheus::Error> {
    registry.register(Box::new(Runtime {
        read: Handle::current().metrics(),
        workers: IntGauge::new("kiam_runtime_workers", "Threads that run tasks.")?,
        alive_tasks: IntGauge::new("kiam_runtime_alive_tasks", "Tasks that have not ended.")?,
        queue: IntGauge::new("kiam_runtime_global_queue_depth", "Tasks that wait for any worker.")?,
        busy: Counter::new("kiam_runtime_busy_seconds_total", "Time that all workers together spent running tasks.")?,
    }))
}

struct Runtime {
    read: RuntimeMetrics,
    workers: IntGauge,
    alive_tasks: IntGauge,
    queue: IntGauge,
    busy: Counter,
}

impl Runtime {
    fn parts(&self) -> [&dyn Collector; 4] {
        [&self.workers, &self.alive_tasks, &self.queue, &self.busy]
    }
}

impl Collector for Runtime {
    fn desc(&self) -> Vec<&Desc> {
        self.parts().into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let workers = self.read.num_workers();
        let busy: f64 = (0..workers).map(|worker| self.read.worker_total_busy_duration(worker).as_secs_f64()).sum();
        self.workers.set(gauge(workers));
        self.alive_tasks.set(gauge(self.read.num_alive_tasks()));
        self.queue.set(gauge(self.read.global_queue_depth()));
        // Two scrapes at once may both add the same; then the next ones add less.
        self.busy.inc_by((busy - self.busy.get()).max(0.0));
        self.parts().into_iter().flat_map(Collector::collect).collect()
    }
}

fn gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
