//! Asks every server at once, as an operator.

use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use futures_util::future::join_all;
use kiam_common::args::{LogArgs, ServerAddressArgs, TlsArgs, USAGE_EXIT_CODE, parse_duration};
use kiam_common::channel::{connect_lazily, why};
use kiam_common::telemetry;
use kiam_common::tls::{Identity, TlsError};
use kiam_proto::node::fleet_client::FleetClient;
use tokio::time::timeout;
use tonic::transport::Channel;
use tonic::{Response, Status};

/// Whom to ask, and as whom: an operator's certificate (DNS name `kiam-operator`), or the server's own.
#[derive(Args, Clone, Debug)]
pub(super) struct AskArgs {
    /// The longest time for a server's answer
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = parse_duration)]
    timeout: Duration,

    /// Which servers to ask.
    #[command(flatten)]
    server: ServerAddressArgs,

    /// Who asks.
    #[command(flatten)]
    tls: TlsArgs,

    /// How to log.
    #[command(flatten)]
    log: LogArgs,
}

/// What came of asking one server.
#[derive(Clone, Debug)]
pub(super) struct Answer<T> {
    /// Which one.
    pub(super) server: SocketAddr,
    /// What it said, or why it said nothing, in one line.
    pub(super) said: Result<T, String>,
}

/// Why no server could be asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    /// There is nothing to ask with.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// There is nobody to ask.
    #[error("--server-address {address}: {source}")]
    Unresolved {
        /// Whom the flag names.
        address: String,
        /// Why it has no address.
        source: io::Error,
    },
}

impl AskError {
    /// Says so.
    pub(super) fn report(&self) -> ExitCode {
        eprintln!("error: {self}");
        match self {
            Self::Tls(_) => ExitCode::from(USAGE_EXIT_CODE),
            Self::Unresolved { .. } => ExitCode::FAILURE,
        }
    }
}

impl AskArgs {
    /// Calls every address of the servers, all at once.
    pub(super) async fn every_server<T, F>(
        &self,
        call: impl Fn(FleetClient<Channel>) -> F,
    ) -> Result<Vec<Answer<T>>, AskError>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        telemetry::init(&self.log);
        let identity = Identity::load(&self.tls).await?;
        let ServerAddressArgs { server_address, gateway_timeout_creation, keepalive, .. } = &self.server;
        let unresolved = |source| AskError::Unresolved { address: server_address.to_string(), source };
        let servers = server_address.resolve().await.map_err(unresolved)?;
        let asked = servers.into_iter().map(|server| {
            let host = &server_address.host;
            let channel = connect_lazily(server, host, &identity, keepalive, *gateway_timeout_creation);
            let answer = timeout(self.timeout, call(FleetClient::new(channel)));
            async move {
                let said = match answer.await {
                    Ok(Ok(response)) => Ok(response.into_inner()),
                    Ok(Err(status)) => Err(why(&status)),
                    Err(_) => Err(format!("no answer within {:?}", self.timeout)),
                };
                Answer { server, said }
            }
        });
        Ok(join_all(asked).await)
    }
}
