//! The whole path on real parts: both programs as processes, a real Kubernetes API server, moto, Prometheus, and the
//! AWS SDKs. `tests/run` sets all of it up.

mod certs;
mod contract_flags;
mod contract_grpc;
mod contract_metrics;
mod contract_routes;
mod dashboards;
mod doctor;
mod emulated;
mod exposition;
mod flags_agent;
mod flags_keepalive;
mod flags_server;
mod fleet_metrics;
mod floods;
mod grpc;
mod install_metrics;
mod kiam_v4;
mod node_binding;
mod observed;
mod operators;
mod peers;
mod preflight;
mod push;
mod rbac;
mod refusals;
mod resilience;
mod rules;
mod scrapers;
mod sdks;
mod secrets;
mod shared;
mod single_flight;
mod startup_taint;
mod traces;
mod world;
