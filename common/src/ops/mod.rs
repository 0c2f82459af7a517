//! The listener for those who operate the program: metrics, `/live`, `/ready`, and on servers `/sd`, on
//! `--prometheus-listen-addr`.
//!
//! It must answer when the program is in trouble, and the program must go on when scrapers are: so it has a thread of its
//! own, does no work beyond gathering the metrics, holds few connections, and lets go of clients that are slow.

mod access;
mod errors;
mod exposition;
mod fleet;
mod metrics;
mod pages;
mod pprof;
mod query;
mod ready;

mod serve;
mod workers;

use std::io;
use std::net::{self, SocketAddr};
use std::sync::Arc;
use std::thread;

use tokio::net::TcpListener;
use tokio::runtime::{self, Handle};
use tokio::sync::oneshot;

pub use self::pprof::Pprof;
pub use access::{Access, Denial, Reviewed};
pub use fleet::{Endpoint, Fleet};
pub use metrics::Sampled;
pub use ready::{Blocker, Readiness};

use crate::args::{Incomplete, MetricsAuth, OpsArgs};
use crate::listen::listen;
use crate::registry::Registry;
use crate::shutdown::Shutdown;
use crate::tls::{Identity, TlsError};
use errors::MetricErrors;
use pages::Pages;

/// Why there is no listener. One line that names the flag.
#[derive(Debug, thiserror::Error)]
pub enum OpsError {
    /// The address is not to be had.
    #[error(transparent)]
    Listen(#[from] io::Error),
    /// Flags about its certificate that go together.
    #[error(transparent)]
    Incomplete(#[from] Incomplete),
    /// Its certificate files are not as expected.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The metrics cannot be registered: a defect.
    #[error("cannot register the metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// The listener, bound and not serving yet.
#[derive(Debug)]
pub struct Ops {
    listener: net::TcpListener,
    identity: Option<Arc<Identity>>,
    pages: Pages,
}

impl Ops {
    /// Binds `--prometheus-listen-addr`; nothing if it is empty. Adds what every program tells of itself to
    /// `registry`: its process, its runtime and its build. To be called in the program's own runtime.
    pub async fn bind(args: &OpsArgs, registry: Registry, readiness: Readiness) -> Result<Option<Self>, OpsError> {
        if args.prometheus_listen_addr.is_empty() {
            return Ok(None);
        }
        let identity = match args.metrics.files()? {
            Some(files) => Some(Identity::load(&files).await?),
            None => None,
        };
        if let Some(identity) = &identity {
            identity.register_status(&registry)?;
        }
        if args.metrics.insecure_metrics && args.metrics.metrics_auth != MetricsAuth::None {
            tracing::warn!("INSECURE_METRICS=true: everybody may read metrics, whatever --metrics-auth says");
        }
        metrics::register_program(&registry, args.prometheus_sync_interval)?;
        let listener = listen("--prometheus-listen-addr", &args.prometheus_listen_addr).await?;
        let (address, listener) = (listener.local_addr()?, listener.into_std()?);
        let path = args.metrics.metrics_path.as_str().into();
        let here = Endpoint { address, path, tls: identity.is_some() };
        let (errors, program) = (MetricErrors::new(&registry)?, Handle::current());
        let pages = Pages { registry, errors, readiness, here, access: None, fleet: None, program };
        Ok(Some(Self { listener, identity, pages }))
    }

    /// Lets nobody read metrics whom `access` does not let, where `--metrics-auth` says so.
    #[must_use]
    pub fn guarded_by(mut self, access: Arc<dyn Access>, auth: MetricsAuth) -> Self {
        self.pages.access = match auth {
            MetricsAuth::None => None,
            MetricsAuth::Kubernetes => Some(access),
        };
        self
    }

    /// Shows `fleet` at `/sd`, and with the program's own series to who asks for `scope=fleet`.
    #[must_use]
    pub fn with_fleet(mut self, fleet: Arc<dyn Fleet>) -> Self {
        self.pages.fleet = Some(fleet);
        self
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.pages.here.address
    }

    /// Where the metrics are.
    pub fn endpoint(&self) -> Endpoint {
        self.pages.here.clone()
    }

    /// Answers until `shutdown`, in a thread of its own: scrapers, however many and however slow, take no time from the
    /// program's runtime. The thread is made by the thread that first waits for this, and has no more rights than that.
    pub async fn serve_apart(self, shutdown: Shutdown) {
        let apart = async {
            let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
            let (ended, end) = oneshot::channel();
            thread::Builder::new().name("status".into()).spawn(move || {
                // Fails only when nobody waits any more.
                let _ = ended.send(runtime.block_on(self.serve(shutdown)));
            })?;
            end.await.unwrap_or_else(|_| Err(io::Error::other("its thread failed")))
        };
        if let Err(error) = apart.await {
            tracing::error!("the status listener ended: {error}");
        }
    }

    /// Answers until `shutdown`.
    async fn serve(self, shutdown: Shutdown) -> io::Result<()> {
        let Self { listener, identity, pages, .. } = self;
        let listener = TcpListener::from_std(listener)?;
        if let Some(identity) = identity.clone() {
            tokio::spawn(identity.keep_current(shutdown.clone()));
        }
        serve::serve(listener, identity, shutdown, move |request| pages.clone().get(request.into_parts().0)).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
