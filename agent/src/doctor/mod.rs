//! `kiam-agent doctor`: looks for what keeps an agent with these flags from its work on this node. [`local`] judges what
//! is on the node, [`servers`] what the servers say.
//!
//! What must always hold: it changes nothing, whether or not an agent runs beside it, and it shows no secret.

mod local;
mod servers;
#[cfg(test)]
mod tests;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use kiam_common::args::exit_with_usage;
use kiam_common::clock::Clock;
use kiam_common::report::{Report, Step};
use kiam_common::telemetry;
use kiam_common::tls::{Identity, TlsError};

use crate::args::DoctorArgs;
use crate::config::Config;
use crate::sync::token::{TokenError, TokenFile};

/// What stands for a check that another one's failure leaves nothing for.
const NOT_LOOKED_AT: &str = "not looked at";

/// Prints what is found: 0 if nothing keeps the agent from its work, else 1.
pub(crate) async fn run(args: DoctorArgs) -> ExitCode {
    let DoctorArgs { agent, token_audience, timeout, json } = args;
    telemetry::init(&agent.log);
    let config = Config::try_from(agent).unwrap_or_else(|wrong| exit_with_usage(wrong));
    let doctor = Doctor { config, token_audience, timeout, clock: Clock::system() };
    let report = doctor.examine().await;
    report.print(json, "nothing here keeps the agent from its work", "the agent cannot do its work: see ✗")
}

/// Who looks.
struct Doctor {
    /// As the agent has it.
    config: Config,
    /// For whom its token must be.
    token_audience: String,
    /// For each thing that is asked.
    timeout: Duration,
    clock: Clock,
}

/// What the agent shows of itself, or why it cannot.
struct Papers {
    identity: Result<Arc<Identity>, TlsError>,
    /// None if there is to be none.
    token: Option<Result<Arc<TokenFile>, TokenError>>,
}

impl Doctor {
    async fn examine(&self) -> Report {
        let token = match &self.config.server_token_file {
            Some(file) => Some(TokenFile::open(file.clone()).await),
            None => None,
        };
        let papers = Papers { identity: Identity::load(&self.config.tls).await, token };
        let now = self.clock.now();
        let mut steps = vec![
            local::certificate(papers.identity.as_deref(), now),
            local::chain(papers.identity.as_deref().ok(), now),
            local::token(papers.token.as_ref(), &self.token_audience, now),
        ];
        steps.extend(self.ask_servers(&papers).await);
        steps.push(local::interception(self.config.interception.as_ref(), self.timeout).await);
        steps.push(local::metadata(&self.config.metadata_endpoint).await);
        steps.push(local::descriptors(self.config.limits.connections));
        Report::new(self.node().unwrap_or("this node"), steps)
    }

    async fn ask_servers(&self, papers: &Papers) -> Vec<Step> {
        let Ok(identity) = &papers.identity else {
            return ["clock", "server", "supply"].map(|check| Step::skipped(check, NOT_LOOKED_AT)).into();
        };
        let token = papers.token.as_ref().and_then(|token| token.as_ref().ok()).cloned();
        match servers::ask(&self.config.server, identity, token.as_ref(), self.timeout, &self.clock).await {
            Ok(answers) => servers::steps(&answers, self.node()),
            Err(error) => servers::unresolved(&self.config.server.server_address, &error),
        }
    }

    /// The node's name, where a stream is for it.
    fn node(&self) -> Option<&str> {
        self.config.stream.as_ref().map(|stream| stream.node.as_str())
    }
}
