//! The agent's service account token, by which a server that binds agents to their nodes knows the node:
//! `--server-token-file`. Sent with every call and with the stream by [`Bearing`], which `endpoint.rs` puts around each
//! connection; `app.rs` runs [`TokenFile::keep_current`].
//!
//! What must always hold: the value is never shown. The file is read again every few seconds, as the kubelet replaces it
//! long before the token ends; a file that is gone or empty for a moment takes nothing away.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::{HeaderValue, Request, header};
use kiam_common::reread;
use kiam_common::secret::Secret;
use kiam_common::shutdown::Shutdown;
use tower::Service;

use super::claims::Claims;

/// How often the file is read again.
const READ_EVERY: Duration = Duration::from_secs(5);

/// What stands in front of a token in the header.
const SCHEME: &str = "Bearer ";

/// Why there is no token: one line that names the flag and the file.
#[derive(Debug, thiserror::Error)]
#[error("--server-token-file {}: {why}; expected a service account token", path.display())]
pub struct TokenError {
    path: PathBuf,
    why: String,
}

/// A token that is kept current.
pub(crate) struct TokenFile {
    path: PathBuf,
    header: ArcSwap<HeaderValue>,
}

impl TokenFile {
    /// Reads the file.
    pub(crate) async fn open(path: PathBuf) -> Result<Arc<Self>, TokenError> {
        let header = ArcSwap::from_pointee(read(&path).await?);
        Ok(Arc::new(Self { path, header }))
    }

    /// Reads the file again and again until shutdown.
    pub(crate) async fn keep_current(self: Arc<Self>, shutdown: Shutdown) {
        let meanwhile = "the token read before stays in use";
        reread::keep(READ_EVERY, shutdown, meanwhile, || self.refresh()).await;
    }

    async fn refresh(&self) -> Result<(), TokenError> {
        let header = read(&self.path).await?;
        if header != **self.header.load() {
            self.header.store(Arc::new(header));
            tracing::debug!("service account token read again from {}", self.path.display());
        }
        Ok(())
    }

    /// What the token says of itself; nobody has checked that it is true.
    pub(crate) fn claims(&self) -> Option<Claims> {
        let header = self.header.load();
        Claims::of(header.to_str().ok()?.strip_prefix(SCHEME)?)
    }
}

/// The value of the `authorization` header, which no `Debug` and no HTTP/2 table shows.
async fn read(path: &Path) -> Result<HeaderValue, TokenError> {
    let wrong = |why: String| TokenError { path: path.to_owned(), why };
    let owned = path.to_owned();
    let text = tokio::task::spawn_blocking(move || std::fs::read_to_string(owned)).await;
    let text = Secret::new(text.unwrap_or_else(|error| Err(error.into())).map_err(|error| wrong(error.to_string()))?);
    let token = text.expose().trim();
    if token.is_empty() {
        return Err(wrong("it is empty".into()));
    }
    let header = Secret::new(format!("{SCHEME}{token}"));
    let mut header = HeaderValue::from_str(header.expose()).map_err(|_| wrong("it is no token".into()))?;
    header.set_sensitive(true);
    Ok(header)
}

/// A connection on which every call bears the token, if there is one.
#[derive(Clone)]
pub(crate) struct Bearing<S> {
    connection: S,
    token: Option<Arc<TokenFile>>,
}

impl<S> Bearing<S> {
    pub(crate) fn new(connection: S, token: Option<Arc<TokenFile>>) -> Self {
        Self { connection, token }
    }
}

impl<S: Service<Request<B>>, B> Service<Request<B>> for Bearing<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.connection.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        if let Some(token) = &self.token {
            request.headers_mut().insert(header::AUTHORIZATION, HeaderValue::clone(&token.header.load()));
        }
        self.connection.call(request)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use kiam_common::testing::CapturedLog;
    use tokio::time::sleep;

    use super::*;

    fn sent(token: &Arc<TokenFile>) -> String {
        token.header.load().to_str().unwrap().to_owned()
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_that_the_kubelet_replaces_is_sent_within_seconds_and_never_shown() {
        let log = CapturedLog::start();
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("token");
        fs::write(&file, "hidden-one\n").unwrap();
        let token = TokenFile::open(file.clone()).await.unwrap();
        assert_eq!(sent(&token), "Bearer hidden-one");
        let shutdown = Shutdown::new();
        let keeping = tokio::spawn(token.clone().keep_current(shutdown.clone()));
        for (content, expected) in [("hidden-two", "hidden-two"), ("", "hidden-two"), ("hidden-3", "hidden-3")] {
            fs::write(&file, content).unwrap();
            sleep(2 * READ_EVERY).await;
            assert_eq!(sent(&token), format!("Bearer {expected}"));
        }
        assert_eq!(log.text().matches("it is empty; expected").count(), 1, "{}", log.text());
        shutdown.begin();
        keeping.await.unwrap();
        let shown = format!("{:?} {}", token.header.load(), log.text());
        assert!(!shown.contains("hidden"), "{shown}");
    }

    #[tokio::test]
    async fn a_file_without_a_token_is_named_with_its_flag() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("token");
        for content in [None, Some(""), Some(" \n"), Some("two\nlines")] {
            if let Some(content) = content {
                fs::write(&file, content).unwrap();
            }
            let error = TokenFile::open(file.clone()).await.err().unwrap().to_string();
            assert!(error.starts_with(&format!("--server-token-file {}: ", file.display())), "{error}");
            assert!(error.ends_with("expected a service account token") && !error.contains("lines"), "{error}");
        }
    }
}
