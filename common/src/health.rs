//! `health`: asks a server whether it is well, for probes and for people. In both binaries, as in Kiam.

use std::error::Error;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use futures_util::FutureExt as _;
use futures_util::future::select_ok;
use kiam_proto::kiam::GetHealthRequest;
use kiam_proto::kiam::kiam_service_client::KiamServiceClient;
use tokio::time::{sleep, timeout};

use crate::args::{LogArgs, OpsArgs, ServerAddressArgs, TlsArgs, USAGE_EXIT_CODE, parse_duration};
use crate::channel::connect_lazily;
use crate::telemetry;
use crate::tls::{Identity, install_crypto_provider};

/// What a server that is well says.
const WELL: &str = "ok";
/// The pause between two attempts.
const PAUSE: Duration = Duration::from_millis(100);

/// The flags of `health`.
#[derive(Args, Clone, Debug)]
pub struct HealthArgs {
    /// The longest time for the whole check
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = parse_duration)]
    pub timeout: Duration,

    /// Which server to ask.
    #[command(flatten)]
    pub server: ServerAddressArgs,

    /// Who asks.
    #[command(flatten)]
    pub tls: TlsArgs,

    /// How to log.
    #[command(flatten)]
    pub log: LogArgs,

    /// Accepted as Kiam does; a check opens no listener.
    #[command(flatten)]
    pub ops: OpsArgs,
}

/// Asks again and again until a server says `ok` (printed; 0) or the time is up (one line that says why; 1). Files
/// that are no certificates end it at once (one line; 2).
pub async fn run(args: HealthArgs) -> ExitCode {
    telemetry::init(&args.log);
    install_crypto_provider();
    match check(&args).await {
        Ok(()) => {
            println!("{WELL}");
            ExitCode::SUCCESS
        }
        Err(unhealthy) => {
            eprintln!("error: {unhealthy}");
            unhealthy.exit_code()
        }
    }
}

/// Why no server was found to be well.
#[derive(Debug, thiserror::Error)]
pub enum Unhealthy {
    /// There is nothing to ask with.
    #[error(transparent)]
    Tls(#[from] crate::tls::TlsError),
    /// Nobody said `ok` in time.
    #[error("no server at {address} was well within {within:?}: {why}")]
    NotInTime {
        /// Who was asked.
        address: String,
        /// For how long.
        within: Duration,
        /// What came of the last attempt.
        why: String,
    },
}

impl Unhealthy {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Tls(_) => ExitCode::from(USAGE_EXIT_CODE),
            Self::NotInTime { .. } => ExitCode::FAILURE,
        }
    }
}

/// Asks every address of the server, again and again, until one says `ok` or the time is up.
pub async fn check(args: &HealthArgs) -> Result<(), Unhealthy> {
    let identity = Identity::load(&args.tls).await?;
    let mut why = "no answer".to_owned();
    timeout(args.timeout, async {
        while let Err(failure) = ask_every_address(&args.server, &identity).await {
            why = failure;
            sleep(PAUSE).await;
        }
    })
    .await
    .map_err(|_| Unhealthy::NotInTime {
        address: args.server.server_address.to_string(),
        within: args.timeout,
        why,
    })
}

/// Asks all addresses at once, so that one that hangs does not hide one that is well.
async fn ask_every_address(server: &ServerAddressArgs, identity: &Arc<Identity>) -> Result<(), String> {
    let addresses = server.server_address.resolve().await.map_err(|error| error.to_string())?;
    if addresses.is_empty() {
        return Err("the name has no address".into());
    }
    select_ok(addresses.into_iter().map(|address| ask(server, address, identity).boxed())).await.map(|_| ())
}

async fn ask(server: &ServerAddressArgs, address: SocketAddr, identity: &Arc<Identity>) -> Result<(), String> {
    let host = &server.server_address.host;
    let channel = connect_lazily(address, host, identity, &server.keepalive, server.gateway_timeout_creation);
    match KiamServiceClient::new(channel).get_health(GetHealthRequest {}).await {
        Ok(status) if status.get_ref().message == WELL => Ok(()),
        Ok(status) => Err(format!("{address} said {:?}", status.get_ref().message)),
        Err(status) => Err(format!("{address}: {}", root_cause(&status))),
    }
}

/// The last of an error's causes: tonic wraps the one that says something.
fn root_cause(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}
