//! The emulators, judged by the clients they are there for: the AWS SDK, kube's client and watcher, and kubectl.

mod imds;
mod kube_api;
mod kubectl;
mod sts;
