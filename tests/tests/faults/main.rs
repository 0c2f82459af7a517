//! Servers, the Kubernetes API and certificates that fail or change while pods ask: no request of a known pod may
//! notice. Each test prints what it counted (`-- --nocapture`), and runs alone, in network namespaces: `tests/run` sets
//! up what these need.
//!
//! `KIAM_TEST_OUTAGE` in seconds makes outages last longer than the few seconds that they take here.

mod certificates;
mod kubernetes;
mod load;
mod outage;
mod rig;
mod servers;
