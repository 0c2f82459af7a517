//! `health`: asks a server whether it is well, for probes and for people. In both binaries, as in Kiam.

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
use crate::channel::{connect_lazily, why};
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

async fn ask_every_address(server: &ServerAddressArgs, identity: &Arc<Identity>) -> Result<(), String> {
    let addresses = server.server_address.resolve().await.map_err(|error| error.to_string())?;
    ask_any(addresses, server, identity).await
}

/// Asks all addresses at once, so that one that hangs does not hide one that is well.
async fn ask_any(
    addresses: Vec<SocketAddr>,
    server: &ServerAddressArgs,
    identity: &Arc<Identity>,
) -> Result<(), String> {
    if addresses.is_empty() {
        return Err("the name has no address".into());
    }
    select_ok(addresses.into_iter().map(|address| ask(address, server, identity).boxed())).await.map(drop)
}

async fn ask(address: SocketAddr, server: &ServerAddressArgs, identity: &Arc<Identity>) -> Result<(), String> {
    let host = &server.server_address.host;
    let channel = connect_lazily(address, host, identity, &server.keepalive, server.gateway_timeout_creation);
    match KiamServiceClient::new(channel).get_health(GetHealthRequest {}).await {
        Ok(status) if status.get_ref().message == WELL => Ok(()),
        Ok(status) => Err(format!("{address} said {:?}", status.get_ref().message)),
        Err(status) => Err(format!("{address}: {}", why(&status))),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use tokio::net::TcpListener;

    use super::*;
    use crate::shutdown::Shutdown;
    use crate::testing::{Pki, serve_health};

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        health: HealthArgs,
    }

    fn args(server: SocketAddr, files: TlsArgs) -> HealthArgs {
        let flags = ["health", "--gateway-timeout-creation=60s", "--timeout=60s", "--cert=x", "--key=x", "--ca=x"];
        let mut args = Flags::try_parse_from(flags).unwrap().health;
        args.server.server_address = server.to_string().parse().unwrap();
        args.tls = files;
        args
    }

    async fn serve(pki: &Pki, message: &str) -> SocketAddr {
        let identity = Identity::load(&pki.issue("server", &["127.0.0.1"])).await.unwrap();
        serve_health(identity, message, Shutdown::new()).await
    }

    /// What comes of one attempt.
    async fn attempt(args: &HealthArgs) -> Result<(), String> {
        ask_every_address(&args.server, &Identity::load(&args.tls).await.unwrap()).await
    }

    #[tokio::test]
    async fn a_server_that_says_ok_is_well() {
        let pki = Pki::new();
        check(&args(serve(&pki, "ok").await, pki.issue("agent", &["agent"]))).await.unwrap();
    }

    #[tokio::test]
    async fn a_server_that_says_anything_else_is_not() {
        let pki = Pki::new();
        let address = serve(&pki, "soon").await;
        let why = attempt(&args(address, pki.issue("agent", &["agent"]))).await.unwrap_err();
        assert_eq!(why, format!("{address} said \"soon\""));
    }

    #[tokio::test]
    async fn why_a_server_cannot_be_asked_is_said() {
        let address = serve(&Pki::new(), "ok").await;
        let stranger = Pki::new();
        let why = attempt(&args(address, stranger.issue("agent", &["agent"]))).await.unwrap_err();
        assert!(why.starts_with(&format!("{address}: invalid peer certificate")), "{why}");
    }

    #[tokio::test]
    async fn one_address_that_is_well_is_enough() {
        let pki = Pki::new();
        let hanging = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let well = serve(&pki, "ok").await;
        let args = args(well, pki.issue("agent", &["agent"]));
        let identity = Identity::load(&args.tls).await.unwrap();
        ask_any(vec![hanging.local_addr().unwrap(), well], &args.server, &identity).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_hangs_is_given_up_when_the_time_is_up() {
        let pki = Pki::new();
        let hanging = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let args = args(hanging.local_addr().unwrap(), pki.issue("agent", &["agent"]));
        let unhealthy = check(&args).await.unwrap_err().to_string();
        assert!(unhealthy.ends_with("was well within 60s: no answer"), "{unhealthy}");
    }

    #[tokio::test]
    async fn missing_files_are_said_at_once() {
        let pki = Pki::new();
        let files = TlsArgs { cert: pki.path().join("missing"), ..pki.issue("agent", &["agent"]) };
        let unhealthy = check(&args("127.0.0.1:1".parse().unwrap(), files)).await.unwrap_err();
        assert!(matches!(unhealthy, Unhealthy::Tls(_)), "{unhealthy}");
    }
}
