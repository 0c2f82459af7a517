//! What tests kiam-rs: emulators of everything around it (STS, the Kubernetes API, instance metadata), a stack that
//! starts its programs beside them, and the sandbox that shows all of it to a person.
//!
//! Every emulator listens on loopback at a port of its own, speaks the real protocol, records what it was asked, and
//! stops when its handle is dropped.

pub mod collector;
pub mod dashboards;
pub mod fuzz;
pub mod imds;
pub mod kube_api;
pub mod loopback;
pub mod netns;
pub mod real;
pub mod sandbox;
pub mod stack;
pub mod sts;
