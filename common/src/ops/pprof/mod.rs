//! CPU profiles for `go tool pprof` and the like: `GET /debug/pprof/profile?seconds=N` on `--pprof-listen-addr`, a
//! listener of its own that is there only if the flag is. Kiam has the same address and route.

mod encode;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, StatusCode};
use pprof::ProfilerGuardBuilder;
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::time::sleep;

use super::OpsError;
use super::serve::{self, Page, page, text};
use crate::args::OpsArgs;
use crate::listen::listen;
use crate::shutdown::Shutdown;

/// The route.
const PATH: &str = "/debug/pprof/profile";
/// How long to look if the request does not say.
const DEFAULT_SECONDS: u64 = 30;
/// The longest look.
const MOST_SECONDS: u64 = 60;
/// Samples in a second of CPU time; not a divisor of what programs do in rhythm.
const FREQUENCY: i32 = 99;

/// The listener, bound and not serving yet.
#[derive(Debug)]
pub struct Pprof {
    listener: TcpListener,
    address: SocketAddr,
}

impl Pprof {
    /// Binds `--pprof-listen-addr`; nothing if it is empty.
    pub async fn bind(args: &OpsArgs) -> Result<Option<Self>, OpsError> {
        if args.pprof_listen_addr.is_empty() {
            return Ok(None);
        }
        let listener = listen("--pprof-listen-addr", &args.pprof_listen_addr).await?;
        Ok(Some(Self { address: listener.local_addr()?, listener }))
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `shutdown`.
    pub async fn serve(self, shutdown: Shutdown) {
        let one_at_a_time = Arc::new(Mutex::new(()));
        serve::serve(self.listener, None, shutdown, move |request| {
            let turn = one_at_a_time.clone();
            async move { answer(request.uri().path(), request.uri().query(), &turn).await }
        })
        .await;
    }
}

async fn answer(path: &str, query: Option<&str>, one_at_a_time: &Mutex<()>) -> Page {
    if path != PATH {
        return text(StatusCode::NOT_FOUND, format!("not found: try {PATH}\n"));
    }
    let Some(length) = length(query) else {
        return text(StatusCode::BAD_REQUEST, format!("seconds: expected a whole number from 1 to {MOST_SECONDS}\n"));
    };
    // The profiler is the process's own: a second would end the first.
    let Ok(_turn) = one_at_a_time.try_lock() else {
        return text(StatusCode::CONFLICT, "another profile is being taken\n");
    };
    match profile(length).await {
        Ok(profile) => page(StatusCode::OK, HeaderValue::from_static("application/octet-stream"), profile),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

/// How long the query asks to look.
fn length(query: Option<&str>) -> Option<Duration> {
    let asked = query.unwrap_or_default().split('&').find_map(|pair| pair.strip_prefix("seconds="));
    let seconds = asked.map_or(Ok(DEFAULT_SECONDS), str::parse).ok()?;
    (1..=MOST_SECONDS).contains(&seconds).then(|| Duration::from_secs(seconds))
}

/// Looks at what the process does for `length`: a gzipped profile.
async fn profile(length: Duration) -> io::Result<Vec<u8>> {
    let profiler = ProfilerGuardBuilder::default()
        .frequency(FREQUENCY)
        // Unwinding inside these from a signal can deadlock.
        .blocklist(&["libc", "libgcc", "pthread", "vdso"])
        .build()
        .map_err(io::Error::other)?;
    sleep(length).await;
    // Naming the frames reads the program's debug information: nothing for a thread that others wait for.
    tokio::task::spawn_blocking(move || {
        let report = profiler.report().build().map_err(io::Error::other)?;
        encode::gzipped(&encode::Profile::new(&report))
    })
    .await?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_is_bounded() {
        for (query, seconds) in [
            (None, Some(30)),
            (Some(""), Some(30)),
            (Some("seconds=1"), Some(1)),
            (Some("debug=0&seconds=60"), Some(60)),
            (Some("seconds=0"), None),
            (Some("seconds=61"), None),
            (Some("seconds=-1"), None),
            (Some("seconds="), None),
            (Some("seconds=1s"), None),
        ] {
            assert_eq!(length(query), seconds.map(Duration::from_secs), "{query:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_profile_at_a_time_and_only_where_kiam_has_it() {
        let turn = Mutex::new(());
        let (first, second) = tokio::join!(answer(PATH, None, &turn), answer(PATH, None, &turn));
        assert_eq!((first.status(), second.status()), (StatusCode::OK, StatusCode::CONFLICT));
        assert_eq!(answer("/debug/pprof/heap", None, &turn).await.status(), StatusCode::NOT_FOUND);
        assert_eq!(answer(PATH, Some("seconds=x"), &turn).await.status(), StatusCode::BAD_REQUEST);
    }
}
