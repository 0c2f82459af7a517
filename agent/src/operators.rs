//! The listeners for those who operate the agent: bound early, so that what is wrong with them is told first; served until
//! everything else has ended.

use std::sync::Arc;

use kiam_common::args::OpsArgs;
use kiam_common::clock::Clock;
use kiam_common::ops::{Endpoint, Ops, OpsError, Pprof, Readiness, Reviewed};
use kiam_common::registry::Registry;
use kiam_common::review::ReviewMetrics;
use kiam_common::shutdown::Shutdown;
use tokio::task::JoinSet;

use crate::scrapers::ServersKnow;
use crate::sync::endpoints::Endpoints;

/// The listeners, not serving yet.
pub(crate) struct Operators {
    ops: Option<Ops>,
    pprof: Option<Pprof>,
}

impl Operators {
    /// Those that the flags ask for.
    pub(crate) async fn bind(args: &OpsArgs, registry: &Registry, readiness: &Readiness) -> Result<Self, OpsError> {
        let ops = Ops::bind(args, registry.clone(), readiness.clone()).await?;
        Ok(Self { ops, pprof: Pprof::bind(args).await? })
    }

    /// Where `/metrics`, `/live` and `/ready` are, if anywhere.
    pub(crate) fn endpoint(&self) -> Option<Endpoint> {
        self.ops.as_ref().map(Ops::endpoint)
    }

    /// Has the servers asked who may read metrics, where `--metrics-auth` says so.
    pub(crate) fn guarded(
        self,
        args: &OpsArgs,
        endpoints: &Arc<Endpoints>,
        clock: &Clock,
        registry: &Registry,
    ) -> Result<Self, prometheus::Error> {
        let metrics = ReviewMetrics::new(registry, "kiam_scraper_reviews_total", "Reviews of scrapers' bearer tokens")?;
        let access = Arc::new(Reviewed::by(ServersKnow(endpoints.clone()), clock.clone(), metrics));
        Ok(Self { ops: self.ops.map(|ops| ops.guarded_by(access, args.metrics.auth())), ..self })
    }

    /// Lets them in until `shutdown`.
    pub(crate) fn serve(self, shutdown: &Shutdown) -> JoinSet<()> {
        let mut serving = JoinSet::new();
        if let Some(ops) = self.ops {
            serving.spawn(ops.serve_apart(shutdown.clone()));
        }
        if let Some(pprof) = self.pprof {
            serving.spawn(pprof.serve(shutdown.clone()));
        }
        serving
    }
}
