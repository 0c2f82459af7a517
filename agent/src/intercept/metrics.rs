//! The metrics of the interception. Created in `app.rs`, written by the keeper and by the listener.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;

use kiam_common::registry::Registry;
use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts};

use super::rule;

/// What made the keeper look at the rules: the `noticed` label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Noticed {
    /// Something in the kernel changed.
    Change,
    /// It was time.
    Schedule,
}

/// The metrics of the rules; not there where the agent keeps none.
#[derive(Debug)]
pub(crate) struct RuleMetrics {
    pub(super) healthy: IntGauge,
    pub(super) interfaces: IntGauge,
    pub(super) failures: IntCounter,
    pub(super) caught: IntCounter,
    pub(super) closed: IntCounter,
    repairs: [IntCounter; 2],
}

impl RuleMetrics {
    /// Registers every series, at 0.
    pub(crate) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            prometheus::Result::Ok(gauge)
        };
        let [caught, closed] = counters(
            registry,
            "kiam_interception_packets_total",
            "First packets of connections sent to the agent, and packets dropped because nothing else may have them",
            "verdict",
            ["caught", "closed"],
        )?;
        let repairs = counters(
            registry,
            "kiam_interception_repairs_total",
            "Rules found changed or missing and written again, by what made the agent look",
            "noticed",
            ["change", "schedule"],
        )?;
        let failures = IntCounter::new("kiam_interception_failures_total", "Looks at the rules that ended badly")?;
        registry.register(Box::new(failures.clone()))?;
        Ok(Self {
            healthy: gauge("kiam_interception_healthy", "1 if the rules are whole and what they catch arrives")?,
            interfaces: gauge("kiam_interception_interfaces", "Interfaces that --host-interface means")?,
            failures,
            caught,
            closed,
            repairs,
        })
    }

    /// Whether the rules are whole and what they catch arrives.
    pub(crate) fn is_healthy(&self) -> bool {
        self.healthy.get() == 1
    }

    pub(super) fn repaired(&self, noticed: Noticed) {
        let [change, schedule] = &self.repairs;
        match noticed {
            Noticed::Change => change.inc(),
            Noticed::Schedule => schedule.inc(),
        }
    }
}

/// Counts how connections came to the agent. Needs no rights, so it tells of rules that somebody else keeps, too.
#[derive(Debug)]
pub(crate) struct Arrivals {
    pub(super) caught: IntCounter,
    direct: IntCounter,
}

impl Arrivals {
    /// Registers both series, at 0.
    pub(crate) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let [caught, direct] = counters(
            registry,
            "kiam_interception_connections_total",
            "Connections accepted: sent by the rules, or made to the agent's own address",
            "via",
            ["rules", "direct"],
        )?;
        Ok(Self { caught, direct })
    }

    /// Counts a connection that was accepted.
    pub(crate) fn note(&self, connection: &impl AsFd, peer: IpAddr) {
        // Where nothing is translated the kernel may know no original destination: then it was the agent's own.
        let wanted = match peer {
            IpAddr::V4(_) => rustix::net::sockopt::ip_original_dst(connection).map(SocketAddr::from),
            IpAddr::V6(_) => rustix::net::sockopt::ipv6_original_dst(connection).map(SocketAddr::from),
        };
        match wanted {
            Ok(wanted) if rule::is_metadata(wanted.ip()) => self.caught.inc(),
            _ => self.direct.inc(),
        }
    }
}

fn counters<const N: usize>(
    registry: &Registry,
    name: &str,
    help: &str,
    label: &str,
    values: [&str; N],
) -> prometheus::Result<[IntCounter; N]> {
    let counters = IntCounterVec::new(Opts::new(name, help), &[label])?;
    registry.register(Box::new(counters.clone()))?;
    Ok(values.map(|value| counters.with_label_values(&[value])))
}
