//! The whole path on real parts: both programs as processes, a real Kubernetes API server, moto, Prometheus, and the
//! AWS SDKs. `tests/run` sets all of it up.

mod rbac;
mod shared;
