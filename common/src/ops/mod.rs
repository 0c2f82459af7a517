//! The listener for those who operate the program: `/metrics`, `/live`, `/ready` on `--prometheus-listen-addr`.
//!
//! It must answer when the program is in trouble, so it does no work of its own beyond gathering the metrics, holds
//! few connections, and lets go of clients that are slow.

mod metrics;
mod openmetrics;
mod pprof;
mod query;
mod ready;
mod serve;

use std::future::ready;
use std::io;
use std::net::SocketAddr;

use http::{Request, StatusCode};
use prometheus::Registry;
use tokio::net::TcpListener;

pub use self::pprof::Pprof;
pub use metrics::Sampled;
pub use ready::{Blocker, Readiness};

use crate::args::OpsArgs;
use crate::listen::listen;
use crate::shutdown::Shutdown;
use serve::{Page, text};

/// The listener, bound and not serving yet.
#[derive(Debug)]
pub struct Ops {
    listener: TcpListener,
    address: SocketAddr,
    pages: Pages,
}

impl Ops {
    /// Binds `--prometheus-listen-addr`; nothing if it is empty. Adds what every program tells of itself to
    /// `registry`: its process and its build.
    pub async fn bind(args: &OpsArgs, registry: Registry, readiness: Readiness) -> io::Result<Option<Self>> {
        if args.prometheus_listen_addr.is_empty() {
            return Ok(None);
        }
        metrics::register_program(&registry, args.prometheus_sync_interval).map_err(io::Error::other)?;
        let listener = listen("--prometheus-listen-addr", &args.prometheus_listen_addr).await?;
        let address = listener.local_addr()?;
        Ok(Some(Self { listener, address, pages: Pages { registry, readiness } }))
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `shutdown`.
    pub async fn serve(self, shutdown: Shutdown) {
        let pages = self.pages;
        serve::serve(self.listener, shutdown, move |request| ready(pages.get(&request))).await;
    }
}

/// What the pages show.
#[derive(Clone, Debug)]
struct Pages {
    registry: Registry,
    readiness: Readiness,
}

impl Pages {
    fn get<B>(&self, request: &Request<B>) -> Page {
        match request.uri().path() {
            "/metrics" => query::answer(&self.registry, request.uri().query().unwrap_or_default(), request.headers()),
            "/live" => text(StatusCode::OK, "ok\n"),
            "/ready" => self.ready(),
            _ => text(StatusCode::NOT_FOUND, "not found: try /metrics, /live or /ready\n"),
        }
    }

    fn ready(&self) -> Page {
        match self.readiness.waiting_for().as_slice() {
            [] => text(StatusCode::OK, "ready\n"),
            names => text(StatusCode::SERVICE_UNAVAILABLE, names.join("\n") + "\n"),
        }
    }
}

#[cfg(test)]
mod tests;
