//! What the kiam-rs agent and server share: the domain's types, and everything that makes a program runnable —
//! flags, logs, TLS, the metrics listener, shutdown.

pub mod args;
pub mod bearer;
pub mod channel;
pub mod clock;
pub mod credentials;
pub mod grpc_metrics;
pub mod health;
pub mod listen;
pub mod ops;
pub mod rarely;
pub mod reason;
pub mod registry;
pub mod report;
pub mod reread;
pub mod review;
pub mod role;
pub mod secret;
pub mod shutdown;
pub mod telemetry;
#[cfg(feature = "testing")]
pub mod testing;
pub mod tls;

/// What both programs say that they are: `0.1.0`, or `0.1.0+0123456789ab` with the revision that they were built from.
pub const VERSION: &str = env!("KIAM_VERSION");
