//! What the run found: a table beside the targets, and one line of JSON.

use std::time::Duration;

use serde_json::json;

use crate::size::Size;

const MB: f64 = 1024.0 * 1024.0;

/// Memory in bytes, delays in milliseconds.
pub(crate) struct Report {
    pub(crate) size: Size,
    /// Without a pod.
    pub(crate) empty: f64,
    /// The most while the cluster was listed and credentials were fetched.
    pub(crate) peak: f64,
    /// With every pod and credentials of every role.
    pub(crate) steady: f64,
    /// With every stream.
    pub(crate) supplying: f64,
    /// After all changes.
    pub(crate) busy: f64,
    /// From the server's start until it was ready.
    pub(crate) listed_after: Duration,
    /// From the first connection until every agent had its snapshot.
    pub(crate) supplied_after: Duration,
    /// In order of their length; infinite for a change that nobody heard of.
    pub(crate) delays: Vec<f64>,
    /// Streams that ended, and were opened again.
    pub(crate) lost: usize,
}

impl Report {
    pub(crate) fn print(&self) {
        let Size { nodes, pods, roles, changes, .. } = self.size;
        let bytes_a_pod = (self.steady - self.empty) / f64::from(pods);
        let peak_to_steady = self.peak / self.steady;
        let kb_a_stream = (self.supplying - self.steady) / f64::from(nodes) / 1024.0;
        let [p50, p99, most] = [0.5, 0.99, 1.0].map(|share| self.delay(share));
        println!(
            "{pods} pods, {roles} roles, {nodes} streams, {changes} changes a second, {} in all",
            self.delays.len()
        );
        println!("{:<60} {:>10} {:>8}", "", "measured", "target");
        let line = |what: &str, value: f64, target: &str| println!("{what:<60} {value:>10.1} {target:>8}");
        line("memory without pods, MB", self.empty / MB, "");
        line("memory with pods and credentials, MB", self.steady / MB, "90");
        line("  for each pod, credentials included, bytes", bytes_a_pod, "400");
        line("  at most until then, MB", self.peak / MB, "");
        line("  the same, times the steady state", peak_to_steady, "1.2");
        line("from start to listed, s", self.listed_after.as_secs_f64(), "");
        line("from connecting to every agent supplied, s", self.supplied_after.as_secs_f64(), "");
        line("memory for each stream, KB", kb_a_stream, "50");
        line("memory after all changes, MB", self.busy / MB, "");
        line("change to agent, half of them within ms", p50, "");
        line("  99 of 100 within ms", p99, "50");
        line("  all within ms", most, "");
        println!("{} changes unheard of, {} streams opened again", self.unheard(), self.lost);
        let found = json!({
            "bench": "fleet", "pods": pods, "roles": roles, "streams": nodes, "changes_per_second": changes,
            "empty_bytes": self.empty, "steady_bytes": self.steady, "peak_bytes": self.peak,
            "supplying_bytes": self.supplying, "busy_bytes": self.busy, "bytes_per_pod": bytes_a_pod,
            "peak_to_steady": peak_to_steady, "kb_per_stream": kb_a_stream, "delay_p50_ms": p50, "delay_p99_ms": p99,
            "delay_max_ms": most, "changes": self.delays.len(), "unheard": self.unheard(), "streams_lost": self.lost,
            "listed_s": self.listed_after.as_secs_f64(), "supplied_s": self.supplied_after.as_secs_f64(),
        });
        println!("{found}");
    }

    /// Within which this share of the changes arrived.
    fn delay(&self, share: f64) -> f64 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "an index"
        )]
        let last = ((self.delays.len() as f64 * share).ceil() as usize).clamp(1, self.delays.len()) - 1;
        self.delays[last]
    }

    fn unheard(&self) -> usize {
        self.delays.iter().filter(|delay| delay.is_infinite()).count()
    }
}
