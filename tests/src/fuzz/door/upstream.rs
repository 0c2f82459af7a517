//! A metadata service that trusts nobody: it reads each request with the `url` crate, which the agent does not use,
//! decodes it until there is nothing left to decode, and keeps what no agent should have sent.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use percent_encoding::percent_decode_str;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;
use url::Url;

/// Whether a path, without its version, may be asked for.
pub(super) type Permitted = fn(&str) -> bool;

/// What nobody may ask for, whatever is permitted.
const NEVER: [&str; 3] = ["iam", "identity-credentials", "user-data"];
/// What the agent sends, and nothing else.
const HEADERS: [&[&str]; 2] = [
    &["host", "user-agent", "x-aws-ec2-metadata-token"],
    &["host", "user-agent", "x-aws-ec2-metadata-token-ttl-seconds"],
];

/// The running service.
pub(super) struct Upstream {
    address: SocketAddr,
    wrong: Arc<Mutex<Vec<String>>>,
    _serving: AbortOnDropHandle<()>,
}

impl Upstream {
    pub(super) async fn start(permitted: Permitted) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (address, wrong) = (listener.local_addr()?, Arc::<Mutex<Vec<String>>>::default());
        let kept = wrong.clone();
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, permitted, kept.clone()));
            }
        });
        Ok(Self { address, wrong, _serving: AbortOnDropHandle::new(serving) })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What should not have come since the last time.
    pub(super) fn take_wrong(&self) -> Vec<String> {
        std::mem::take(&mut self.wrong.lock().expect("no holder panics"))
    }
}

async fn serve(mut stream: TcpStream, permitted: Permitted, wrong: Arc<Mutex<Vec<String>>>) {
    let mut read = Vec::new();
    while stream.read_buf(&mut read).await.is_ok_and(|length| length > 0) {
        while let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            let head: Vec<u8> = read.drain(..end + 4).collect();
            if let Err(why) = judge(&head, permitted) {
                wrong.lock().expect("no holder panics").push(format!("{why}: {}", head.escape_ascii()));
            }
            let life = "x-aws-ec2-metadata-token-ttl-seconds: 21600";
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n{life}\r\n\r\ntoken");
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    }
}

fn judge(head: &[u8], permitted: Permitted) -> Result<(), String> {
    let head = std::str::from_utf8(head).map_err(|_| "not text")?;
    let mut lines = head.trim_end().split("\r\n");
    let request: Vec<&str> = lines.next().unwrap_or_default().split(' ').collect();
    let mut names: Vec<String> =
        lines.map(|line| line.split(':').next().unwrap_or_default().to_ascii_lowercase()).collect();
    names.sort();
    if !HEADERS.iter().any(|headers| *headers == names) {
        return Err(format!("headers {names:?}"));
    }
    match request.as_slice() {
        ["PUT", "/latest/api/token", "HTTP/1.1"] => Ok(()),
        ["GET", target, "HTTP/1.1"] => judge_target(target, permitted),
        _ => Err("no request of the agent's".into()),
    }
}

fn judge_target(target: &str, permitted: Permitted) -> Result<(), String> {
    let url = Url::parse(&format!("http://metadata.test{target}")).map_err(|error| error.to_string())?;
    let sent = target.split(['?', '#']).next().unwrap_or_default();
    let names_a_host = !target.starts_with('/') || target.starts_with("//");
    if names_a_host || url.host_str() != Some("metadata.test") || url.port().is_some() || url.fragment().is_some() {
        return Err("it could be another service's".into());
    }
    if url.path() != sent {
        return Err(format!("it could mean {}", url.path()));
    }
    let path = decoded(url.path())?;
    let mut segments = path.split(['/', '\\', ';']).map(str::trim);
    if segments.any(|segment| NEVER.iter().any(|never| segment.eq_ignore_ascii_case(never))) {
        return Err("nobody may ask for that".into());
    }
    let item = path.trim_start_matches('/').split_once('/').map_or("", |(_version, item)| item);
    if permitted(item) { Ok(()) } else { Err("no flag permits it".into()) }
}

/// Without any percent-encoding, however often it was applied.
fn decoded(path: &str) -> Result<String, String> {
    let mut path = path.to_owned();
    loop {
        let next = percent_decode_str(&path).decode_utf8().map_err(|_| "bytes that are no text")?.into_owned();
        if next == path {
            return Ok(path);
        }
        path = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_should_not_come_is_known_in_every_spelling() {
        for target in [
            "/latest/meta-data/iam/info",
            "/latest/meta-data/%69am/info",
            "/latest/meta-data/%2569am/info",
            "/latest/meta-data%2fIAM",
            "/latest/meta-data/x/../y",
            "/latest/meta-data/%2e%2e/y",
            "/latest/user-data",
            "/latest\\user-data",
            "//other/latest/",
        ] {
            assert!(judge_target(target, |_| true).is_err(), "{target}");
        }
        assert_eq!(
            judge_target("/latest/meta-data/placement/region?x=iam", |item| item.starts_with("meta-data")),
            Ok(())
        );
        assert!(judge_target("/latest/meta-data/placement/region", str::is_empty).is_err());
    }
}
